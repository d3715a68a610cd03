"""Puts the matches into the database, and the models into the bucket."""

import json
from typing import Final

import asyncpg
from aiobotocore.session import get_session

from examples.inference_service.parts.matches import MATCHES, MODELS, TEAMS
from examples.inference_service.storage import BUCKET, MODEL, model_key

__all__ = ("AWS_KEYS", "seed_bucket", "seed_database")

AWS_KEYS: Final = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nobody"}
"""What a storage of our own is asked with: it asks back for nothing, but clients do not work without."""

_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS teams (
        team text PRIMARY KEY, elo int, form float, goals_for float, goals_against float);
    CREATE TABLE IF NOT EXISTS matches (
        id text PRIMARY KEY, sport text, league text, home text REFERENCES teams, away text REFERENCES teams,
        starts_at timestamptz);
    CREATE TABLE IF NOT EXISTS predictions (
        id text PRIMARY KEY, match_id text REFERENCES matches, body jsonb, created_at timestamptz DEFAULT now());
    CREATE INDEX IF NOT EXISTS newest_prediction ON predictions (match_id, created_at DESC);
    CREATE TABLE IF NOT EXISTS prediction_counts (
        sport text, day date, total bigint, PRIMARY KEY (sport, day));
    """


async def seed_database(url: str) -> None:
    """Make the tables, and fill those that others would fill."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_SCHEMA)
        await connection.executemany(
            "INSERT INTO teams VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            [(name, *team) for name, team in TEAMS.items()],
        )
        await connection.executemany(
            "INSERT INTO matches VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING", MATCHES
        )
    finally:
        await connection.close()


async def seed_bucket(url: str) -> None:
    """Make the bucket, and upload the models."""
    keys = {name.lower(): value for name, value in AWS_KEYS.items()}
    client = get_session().create_client("s3", region_name="eu-central-1", endpoint_url=url, **keys)
    async with client as s3:
        await s3.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        for version, weights in MODELS.items():
            body = json.dumps({"version": version, "weights": weights}).encode()
            await s3.put_object(Bucket=BUCKET, Key=model_key(MODEL, version), Body=body)
