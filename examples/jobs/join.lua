-- Orders with the name of who ordered: order:N {user, sum} and user:N {id, name}, joined on the user's id.
--   JOB SUBMIT joined MAP LUA "$(cat join.lua)" MATCH *:* TYPE hash INTO bill:
-- A user's orders may come before the user: they are kept until then, which is what an inner join costs.
function map(key, row, emit)
  if key:sub(1, 6) == "order:" then
    emit(row.user, "o" .. key:sub(7) .. "=" .. row.sum)
  elseif key:sub(1, 5) == "user:" then
    emit(row.id, "u" .. row.name)
  end
end

function reduce(id, rows, emit)
  local name, waiting = nil, {}
  for row in rows do
    local kind, rest = row:sub(1, 1), row:sub(2)
    if kind == "u" then name = rest else waiting[#waiting + 1] = rest end
  end
  if not name then return end
  for _, order in ipairs(waiting) do
    local number, sum = order:match("^(.-)=(.*)$")
    emit(number, name .. " owes " .. sum)
  end
end
