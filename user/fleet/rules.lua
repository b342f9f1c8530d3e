-- SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
-- The rules of a fleet: a hash of texts, and a version that every change raises. It runs in the
-- store, so a change is one step. Ends are times of the store's clock, in µs; what comes and goes
-- are durations. A version is the time of its change, so none comes twice, even after a flush.
--
-- A rule is VERSION ENDS TEXT, of the change that made it. A rule that is cleared has the text
-- 'clear' for CLEARED_MS, so that no host puts it back after a flush. Of two, the later one holds.
--
-- KEYS: rules, version.
-- ARGV: 'set', duration in ms (0: no end), then field and text of each rule;
--       'clear', fields; 'clear-all', starts of fields; 'list', cursor;
--       'put', then field, version, ms and text of each rule that the store may have lost.
-- Answer to a change: version, how many there were; to put: version, how many were lost. To list:
-- version, next cursor ('0': that was all), how many were none, then FIELD LF VERSION SPACE MS SPACE
-- TEXT each.
local RULES, VERSION = KEYS[1], KEYS[2]
local RULES_MAX, FIELD_MAX, TEXT_MAX, PAGE, PAGE_MAX = 10000, 191, 228, 500, 3000
local CLEARED, CLEARED_MS = 'clear', 7 * 24 * 3600 * 1000
local VERSION_MAX = 9e15
local op = ARGV[1]
local format, match, sub, max = string.format, string.match, string.sub, math.max
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function version()
	local known = redis.pcall('GET', VERSION)

	known = type(known) == 'string' and match(known, '^%d+$') and tonumber(known) or 0
	return known < VERSION_MAX and known or 0
end

-- Until its end in ms, 0: it has none; its text; its version. No ms: it has ended. No text: it is
-- none.
local function read(value)
	local set, ends, text = match(value, '^(%d+) (%d+) (.*)$')

	set, ends = tonumber(set), tonumber(ends)
	if not set or set >= VERSION_MAX then
		return nil
	end
	if ends ~= 0 and ends <= now then
		return nil, text, set
	end
	return ends == 0 and 0 or math.ceil((ends - now) / 1000), text, set
end

local function write(field, set, ms, text)
	local ends = ms == 0 and 0 or now + ms * 1000

	redis.call('HSET', RULES, field, format('%.0f %.0f ', set, ends) .. text)
end

-- The version of the list after a change. It is no lower than that of a rule.
local function change(least)
	local changed = max(now, version() + 1, least)

	redis.call('SET', VERSION, format('%.0f', changed))
	return format('%.0f', changed)
end

if op == 'list' then
	local page = redis.call('HSCAN', RULES, ARGV[2], 'COUNT', PAGE)
	local answer, ignored = { format('%.0f', version()), page[1], 0 }, 0

	for i = 1, #page[2], 2 do
		local field, value = page[2][i], page[2][i + 1]
		local ms, text, set = read(value)

		if ms and #field <= FIELD_MAX and #value <= TEXT_MAX and #answer < PAGE_MAX then
			answer[#answer + 1] = field .. '\n' .. format('%.0f %.0f ', set, ms) .. text
		elseif ms or not text then
			ignored = ignored + 1
		end
	end
	answer[3] = tostring(ignored)
	return answer
end

if op == 'put' then
	local lost, last = 0, 0

	for i = 2, #ARGV, 4 do
		local field, set = ARGV[i], tonumber(ARGV[i + 1])
		local held = redis.call('HGET', RULES, field)
		local _, _, has = read(held or '')

		if set > (has or 0) and (held or redis.call('HLEN', RULES) < 2 * RULES_MAX) then
			write(field, set, tonumber(ARGV[i + 2]), ARGV[i + 3])
			lost = lost + 1
			last = max(last, set)
		end
	end
	return { lost > 0 and change(last) or format('%.0f', version()), tostring(lost) }
end

-- What has ended goes with the next change, and so do the oldest that are cleared, of too many.
local held, has, count, cleared, hit = redis.call('HGETALL', RULES), {}, 0, {}, {}
for i = 1, #held, 2 do
	local field = held[i]
	local ms, text, set = read(held[i + 1])

	if not ms then
		redis.call('HDEL', RULES, field)
	elseif text == CLEARED then
		cleared[#cleared + 1] = { field, set }
	else
		count = count + 1
		has[field] = true
		for k = 2, op == 'set' and 0 or #ARGV do
			if field == ARGV[k] or op == 'clear-all' and sub(field, 1, #ARGV[k]) == ARGV[k] then
				hit[#hit + 1] = field
				break
			end
		end
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
if op ~= 'set' and #hit == 0 then
	return { format('%.0f', max(1, version())), '0' }
end
table.sort(cleared, function(a, b) return a[2] < b[2] end)
for i = 1, #cleared + #hit - RULES_MAX do
	redis.call('HDEL', RULES, cleared[i][1])
end
local changed = change(0)
for i = 3, op == 'set' and #ARGV or 0, 2 do
	write(ARGV[i], tonumber(changed), tonumber(ARGV[2]), ARGV[i + 1])
end
for _, field in ipairs(hit) do
	write(field, tonumber(changed), CLEARED_MS, CLEARED)
end
return { changed, tostring(#hit) }
