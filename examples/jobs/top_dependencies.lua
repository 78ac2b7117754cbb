-- Which packages are needed by most others. Keys pkg:NAME are hashes with a field `depends`: "libc6 (>= 2.36), libfoo | libbar".
--   JOB SUBMIT needed MAP LUA "$(cat top_dependencies.lua)" MATCH pkg:* PARTITIONS 1 RETURN
-- One partition, so that one reduce sees all names; it emits the ten most needed at the last of them.
function map(key, package, emit)
  local seen = {}
  for name in (package.depends or ""):gmatch("([%w.+-]+)[^,|]*") do
    if not seen[name] then
      seen[name] = true
      emit("all", name)
    end
  end
end

function reduce(key, names, emit)
  local count, order = {}, {}
  for name in names do
    if not count[name] then order[#order + 1] = name end
    count[name] = (count[name] or 0) + 1
  end
  table.sort(order, function(a, b)
    if count[a] ~= count[b] then return count[a] > count[b] end
    return a < b
  end)
  for i = 1, math.min(10, #order) do emit(order[i], count[order[i]]) end
end
