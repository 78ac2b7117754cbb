-- Pi by throwing darts: no keys are read, n tasks throw a million each.
--   JOB SUBMIT pi TASKS 64 LUA "$(cat monte_carlo_pi.lua)" RETURN
-- math.random is seeded by the task's number: tasks differ, and a task that runs again throws the same darts.
function task(i, n, emit)
  local throws, hits = 1000000, 0
  for _ = 1, throws do
    local x, y = math.random(), math.random()
    if x * x + y * y <= 1 then hits = hits + 1 end
  end
  emit("pi", hits / throws * 4)
end

function reduce(key, values, emit)
  local sum, n = 0, 0
  for v in values do sum, n = sum + v, n + 1 end
  emit(key, sum / n)
end
