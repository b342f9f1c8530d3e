-- SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
-- The rules of a fleet: a hash of texts, and a version that every change raises. It runs in the
-- store, so a change is one step. Ends are times of the store's clock, in µs; what comes and goes
-- are durations. A version is the time of its change, so none comes twice, even after a flush.
--
-- KEYS: rules, version.
-- ARGV: 'set', duration in ms (0: no end), then field and text of each rule;
--       'clear', fields; 'clear-all', starts of fields; 'list', cursor.
-- Answer to a change: version, how many there were. To list: version, next cursor ('0': that was
-- all), how many were none, then FIELD LF MS SPACE TEXT each.
local RULES, VERSION = KEYS[1], KEYS[2]
local RULES_MAX, FIELD_MAX, TEXT_MAX, PAGE, PAGE_MAX = 10000, 191, 184, 500, 3000
local op = ARGV[1]
local format, match, sub = string.format, string.match, string.sub
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function version()
	local known = redis.pcall('GET', VERSION)

	known = type(known) == 'string' and match(known, '^%d+$') and tonumber(known) or 0
	return known < 9e15 and known or 0
end

-- Until its end in ms, 0: it has none, and its text; nil: it has ended, or is none.
local function read(value)
	local ends, text = match(value, '^(%d+) (.*)$')

	ends = tonumber(ends)
	if not ends or ends ~= 0 and ends <= now then
		return nil, ends
	end
	return ends == 0 and 0 or math.ceil((ends - now) / 1000), text
end

if op == 'list' then
	local page = redis.call('HSCAN', RULES, ARGV[2], 'COUNT', PAGE)
	local answer, ignored = { format('%.0f', version()), page[1], 0 }, 0

	for i = 1, #page[2], 2 do
		local field, value = page[2][i], page[2][i + 1]
		local ms, text = read(value)

		if ms and #field <= FIELD_MAX and #value <= TEXT_MAX and #answer < PAGE_MAX then
			answer[#answer + 1] = field .. '\n' .. format('%.0f ', ms) .. text
		elseif ms or not text then
			ignored = ignored + 1
		end
	end
	answer[3] = tostring(ignored)
	return answer
end

-- What has ended goes with the next change.
local held, count, removed = redis.call('HGETALL', RULES), 0, 0
local has = {}
for i = 1, #held, 2 do
	local field, gone = held[i], not read(held[i + 1])

	for k = 2, op == 'set' and 0 or #ARGV do
		if field == ARGV[k] or op == 'clear-all' and sub(field, 1, #ARGV[k]) == ARGV[k] then
			removed = removed + (gone and 0 or 1)
			gone = true
		end
	end
	if gone then
		redis.call('HDEL', RULES, field)
	else
		count = count + 1
		has[field] = true
	end
end
for i = 3, op == 'set' and #ARGV or 0, 2 do
	if not has[ARGV[i]] then
		count = count + 1
	end
end
if op == 'set' and count > RULES_MAX then
	return redis.error_reply('SLUICEFULL the fleet has ' .. RULES_MAX .. ' rules')
end
for i = 3, op == 'set' and #ARGV or 0, 2 do
	local ms = tonumber(ARGV[2])
	local ends = ms == 0 and 0 or now + ms * 1000

	redis.call('HSET', RULES, ARGV[i], format('%.0f ', ends) .. ARGV[i + 1])
end
local changed = math.max(now, version() + 1)
redis.call('SET', VERSION, format('%.0f', changed))
return { format('%.0f', changed), tostring(removed) }
