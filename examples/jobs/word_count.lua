-- How often each word occurs in the strings, or in the values of the hashes, lists and sets, of all keys that match.
--   JOB SUBMIT words MAP LUA "$(cat word_count.lua)" COMBINE SUM REDUCE SUM MATCH doc:* INTO count:
-- COMBINE SUM and REDUCE SUM do in C what combine and reduce below do in Lua.
local function words(text, emit)
  for word in text:gmatch("%a+") do
    emit(word:lower(), 1)
  end
end

function map(key, value, emit, type)
  if type == "string" then return words(value, emit) end
  for _, text in pairs(value) do words(tostring(text), emit) end
end

local function sum(key, values, emit)
  local n = 0
  for v in values do n = n + v end
  emit(key, n)
end

combine = sum
reduce = sum
