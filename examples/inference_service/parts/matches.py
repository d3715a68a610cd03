"""What is in the database at the start: the matches of one weekend, and the teams that play them."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

__all__ = ("MATCHES", "MODELS", "TEAMS", "Match", "Team")


class Team(NamedTuple):
    """A team, and its last ten matches: form is the share of points won, goals are per match."""

    elo: int
    form: float
    goals_for: float
    goals_against: float


class Match(NamedTuple):
    """A match that is to be played."""

    id: str
    sport: str
    league: str
    home: str
    away: str
    starts_at: datetime


TEAMS: Final = {
    "Arsenal": Team(1985, 0.77, 2.1, 0.6),
    "Tottenham Hotspur": Team(1812, 0.50, 1.6, 1.2),
    "Liverpool": Team(1954, 0.57, 1.9, 1.3),
    "Nottingham Forest": Team(1748, 0.37, 1.0, 1.5),
    "Manchester City": Team(1969, 0.67, 2.3, 0.9),
    "Newcastle United": Team(1830, 0.47, 1.4, 1.2),
    "Real Madrid": Team(1972, 0.80, 2.2, 0.9),
    "Elche": Team(1655, 0.47, 1.3, 1.3),
    "Barcelona": Team(1948, 0.73, 2.6, 1.3),
    "Athletic Club": Team(1790, 0.50, 1.2, 1.2),
    "Inter": Team(1941, 0.70, 2.3, 1.0),
    "Milan": Team(1866, 0.73, 1.6, 0.8),
    "Bayern München": Team(1993, 0.90, 3.3, 0.8),
    "SC Freiburg": Team(1758, 0.47, 1.4, 1.5),
    "Montpellier Handball": Team(1731, 0.60, 31.2, 28.9),
    "Paris Saint-Germain Handball": Team(1820, 0.75, 34.0, 29.4),
    "THW Kiel": Team(1802, 0.70, 32.1, 28.8),
    "SC Magdeburg": Team(1866, 0.85, 33.9, 28.3),
}

_SATURDAY: Final = datetime(2025, 11, 22, 15, 0, tzinfo=UTC)


def _match(name: str, sport: str, league: str, home: str, away: str, hours: float) -> Match:
    return Match(f"match_{name}", sport, league, home, away, _SATURDAY + timedelta(hours=hours))


MATCHES: Final = (
    _match("ars_tot", "soccer", "Premier League", "Arsenal", "Tottenham Hotspur", 25.5),
    _match("liv_nfo", "soccer", "Premier League", "Liverpool", "Nottingham Forest", 0),
    _match("new_mci", "soccer", "Premier League", "Newcastle United", "Manchester City", 2.5),
    _match("elc_rma", "soccer", "La Liga", "Elche", "Real Madrid", 29),
    _match("fcb_ath", "soccer", "La Liga", "Barcelona", "Athletic Club", 0.25),
    _match("int_mil", "soccer", "Serie A", "Inter", "Milan", 28.75),
    _match("fcb_scf", "soccer", "Bundesliga", "Bayern München", "SC Freiburg", -0.5),
    _match("mhb_psg", "handball", "Starligue", "Montpellier Handball", "Paris Saint-Germain Handball", 4),
    _match("thw_scm", "handball", "Handball-Bundesliga", "THW Kiel", "SC Magdeburg", 3),
)

MODELS: Final = {
    "v2.2": {
        "home": {"bias": 0.30, "elo": 1.4, "form": 0.3},
        "draw": {"bias": 0.0},
        "away": {"bias": 0.0, "elo": -1.4, "form": -0.3},
    },
    "v2.3": {
        "home": {"bias": 0.28, "elo": 1.5, "form": 0.4, "attack": 0.05, "defence": 0.05},
        "draw": {"bias": 0.05},
        "away": {"bias": 0.0, "elo": -1.5, "form": -0.4, "attack": -0.05, "defence": -0.05},
    },
}
"""The weights of each version of the model, by outcome."""
