"""The algorithm of `gcra.py` as a script for Redis, with what it is asked and what it answers.

The state of a client is the value of one key, `"seconds nanoseconds"` for the theoretical arrival time of each rule. It is
split so, since a number in Lua is exact up to 2⁵³, which nanoseconds since 1970 are not; differences to the present are, up to
104 days, and are off by a few nanoseconds above. The key expires when the client has everything back.

The script grants as many tokens as all the rules admit, at least `need` and at most `most`, or none. It writes only what
has changed. The time is that of the server, which all who ask share.

What is asked and what is answered are one text each: a client takes longer for each word of the protocol than for the split.
"""

from hashlib import sha1
from typing import Final

from asgi_resilience.quota.gcra import Decision, Rules

__all__ = ("SCRIPT", "SCRIPT_ID", "arguments", "decision")

_NANOSECONDS: Final = 1_000_000_000

SCRIPT: Final = """
local asked = {}
for word in string.gmatch(ARGV[1], '%S+') do asked[#asked + 1] = tonumber(word) end
local need, granted, now_s, now_n = asked[1], asked[2], asked[3], asked[4]
if now_s < 0 then
  local time = redis.call('TIME')
  now_s, now_n = tonumber(time[1]), tonumber(time[2]) * 1000
end
local kept = string.gmatch(redis.call('GET', KEYS[1]) or '', '%d+')
local ahead, clamped = {}, false
for i = 5, #asked, 2 do
  local interval, tolerance = asked[i], asked[i + 1]
  local s, n = tonumber(kept() or now_s), tonumber(kept() or now_n)
  local lead = math.max(0, (s - now_s) * 1e9 + (n - now_n))
  if lead > tolerance then
    lead, clamped = tolerance, true
  end
  ahead[#ahead + 1] = lead
  granted = math.min(granted, math.floor((tolerance - lead) / interval))
end
if granted < need then granted = 0 end
if granted > 0 or clamped then
  local state, longest = {}, 0
  for i = 1, #ahead do
    local lead = ahead[i] + granted * asked[3 + 2 * i]
    local s, n = now_s + math.floor(lead / 1e9), now_n + lead % 1e9
    if n >= 1e9 then s, n = s + 1, n - 1e9 end
    state[i] = string.format('%.0f %.0f', s, n)
    ahead[i], longest = lead, math.max(longest, lead)
  end
  local expiry = string.format('%.0f', math.min(1e15, math.ceil(longest / 1e6)))
  redis.call('SET', KEYS[1], table.concat(state, ' '), 'PX', expiry)
end
for i = 1, #ahead do ahead[i] = string.format('%.0f', ahead[i]) end
return string.format('%.0f %.0f %.0f ', granted, now_s, now_n) .. table.concat(ahead, ' ')
"""

SCRIPT_ID: Final = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


def arguments(rules: Rules, need: int, most: int, now: int | None) -> str:
    """What the script is called with; `now` in nanoseconds, None: the time of the server."""
    seconds, nanoseconds = (-1, 0) if now is None else divmod(now, _NANOSECONDS)
    asked = f"{need} {most} {seconds} {nanoseconds}"
    for rule in rules:
        asked += f" {rule.interval} {rule.tolerance}"
    return asked


def decision(rules: Rules, need: int, answer: bytes | str) -> tuple[int, Decision]:
    """How many tokens the script has granted, and its decision about the `need` of them."""
    granted, seconds, nanoseconds, *ahead = map(int, answer.split())
    now = seconds * _NANOSECONDS + nanoseconds
    wait = 0
    if not granted:
        wait = max(
            lead + need * rule.interval - rule.tolerance for lead, rule in zip(ahead, rules, strict=True)
        )
    return granted, Decision(rules, tuple(now + lead for lead in ahead), now, wait)
