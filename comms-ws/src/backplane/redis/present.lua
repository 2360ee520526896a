-- Returns the principals that are present in a topic on any node, each once.
-- KEYS[1]  sorted set: the id of the node (16 digits) and the principal, by the end of the presence in milliseconds
-- ARGV[1]  the maximum number of principals

local max = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local present, is_listed = {}, {}
local rank, count = redis.call('ZCOUNT', KEYS[1], '-inf', now), math.min(max, 1000)
while #present < max do
  local members = redis.call('ZRANGE', KEYS[1], rank, rank + count - 1)
  for _, member in ipairs(members) do
    local principal = string.sub(member, 17)
    if not is_listed[principal] and #present < max then
      is_listed[principal] = true
      present[#present + 1] = principal
    end
  end
  if #members < count then
    break
  end
  rank = rank + count
end
return present
