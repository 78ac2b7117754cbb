-- For each word, the keys whose string has it, in order, with blanks between.
--   JOB SUBMIT index MAP LUA "$(cat inverted_index.lua)" MATCH doc:* TYPE string INTO word:
function map(key, text, emit)
  local seen = {}
  for word in text:lower():gmatch("%a+") do
    if not seen[word] then
      seen[word] = true
      emit(word, key)
    end
  end
end

function reduce(word, keys, emit)
  local list = {}
  for key in keys do list[#list + 1] = key end
  table.sort(list)
  emit(word, table.concat(list, " "))
end
