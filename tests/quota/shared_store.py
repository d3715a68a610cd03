"""A store for leases in plain Python, and a clock that passes when the test says so."""

from asgi_resilience.quota.gcra import Decision


class Clock:
    """Seconds."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


class SharedStore:
    """Grants the most tokens that the rules admit, as the script does, and counts the questions."""

    def __init__(self, clock):
        self.clock = clock
        self.states = {}
        self.asked = []
        self.granted = 0

    async def reserve(self, key, rules, need, most):
        self.asked.append(most)
        now = int(self.clock() * 1e9)
        state = self.states.get(key, (now,) * len(rules))
        ahead = [max(0, tat - now) for tat in state]
        left = [(rule.tolerance - lead) // rule.interval for rule, lead in zip(rules, ahead, strict=True)]
        granted = min(most, *left)
        if granted < need:
            waits = (
                lead + need * rule.interval - rule.tolerance for rule, lead in zip(rules, ahead, strict=True)
            )
            return 0, Decision(rules, tuple(now + lead for lead in ahead), now, max(waits))
        self.granted += granted
        tats = (now + lead + granted * rule.interval for rule, lead in zip(rules, ahead, strict=True))
        self.states[key] = tuple(tats)
        return granted, Decision(rules, self.states[key], now, 0)
