-- Pi by throwing darts: no keys are read, n tasks throw a million each.
--   JOB SUBMIT pi TASKS 64 LUA "$(cat monte_carlo_pi.lua)" RETURN
-- math.random is seeded by the task's number: tasks differ, and a task that runs again throws the same darts. Hits are whole numbers, so their
-- sum is the same in whatever order it is made; that of fractions would not be.
local throws = 1000000

function task(i, n, emit)
  local hits = 0
  for _ = 1, throws do
    local x, y = math.random(), math.random()
    if x * x + y * y <= 1 then hits = hits + 1 end
  end
  emit("pi", hits)
end

function reduce(key, values, emit)
  local sum, n = 0, 0
  for hits in values do sum, n = sum + hits, n + 1 end
  emit(key, sum / (n * throws) * 4)
end
