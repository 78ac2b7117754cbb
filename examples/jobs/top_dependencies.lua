-- Which packages are named most often in what others depend on. Keys pkg:NAME are hashes with a field `Depends`, as `synod demo` loads
-- them: "libc6 (>= 2.36), libfoo | libbar". A package counts a name once, and each of its alternatives.
--   synod job run examples/jobs/top_dependencies.lua --match 'pkg:*' --partitions 1
-- One partition, so that one reduce sees all names. Rows come in the order of their keys, which begin with the rank for that.
function map(key, package, emit)
  local seen = {}
  for name in (package.Depends or ""):gmatch("([%w.+-]+)[^,|]*") do
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
  for i = 1, math.min(10, #order) do emit(("%2d %s"):format(i, order[i]), count[order[i]]) end
end
