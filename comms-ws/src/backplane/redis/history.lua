-- Returns the position of the last message, then '1' and the messages after a position, or '0' if one of them is not
-- kept.
-- ARGV[4]  the epoch of the position
-- ARGV[5]  the offset of the position
-- ARGV[6]  the maximum number of bytes; one message is returned whatever its size
-- ARGV[7]  the retention: messages
-- ARGV[8]  the retention: milliseconds

local epoch, top = open()
local since, max_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local lost, reply = {position(epoch, top), '0'}, {position(epoch, top), '1'}
if ARGV[4] ~= epoch or since > top or top - since > tonumber(ARGV[7]) then
  return lost
end
local bytes, offset, time = 0, since + 1, now()
-- The number of entries that are read at once doubles, so that few are read in vain if they are large.
local count = 1
while offset <= top do
  local entries = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', offset), '+', 'COUNT', count)
  if #entries == 0 then
    return lost
  end
  for _, entry in ipairs(entries) do
    local body = entry[2][4]
    if entry[1] ~= string.format('%.0f-0', offset) then
      return lost
    end
    if offset == since + 1 and time - tonumber(entry[2][2]) > tonumber(ARGV[8]) then
      return lost
    end
    bytes = bytes + #body
    if bytes > max_bytes and #reply > 2 then
      return reply
    end
    reply[#reply + 1] = body
    offset = offset + 1
  end
  count = math.min(64, count * 2)
end
return reply
