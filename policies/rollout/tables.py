"""The tables of a control plane's database."""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = 1
META = sa.MetaData()

hooks = sa.Table(
    "hooks",
    META,
    sa.Column("hook", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
)
rollouts = sa.Table(
    "rollouts",
    META,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, unique=True, nullable=False),
    sa.Column("hook", sa.Text, nullable=False),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("first_epoch", sa.Integer, nullable=False),
    sa.Column("marks", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)
events = sa.Table(
    "events",
    META,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
requests = sa.Table(
    "requests",
    META,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("rollout", sa.Text, nullable=False),
)
bundles = sa.Table(
    "bundles",
    META,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("envelope", sa.LargeBinary, nullable=False),
)
clients = sa.Table(
    "clients",
    META,
    sa.Column("hook", sa.Text, primary_key=True),
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("cell", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)
reports = sa.Table(
    "reports",
    META,
    sa.Column("rollout", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("cell", sa.Text, primary_key=True),
    sa.Column("block", sa.Integer, primary_key=True),
    sa.Column("arm", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
sums = sa.Table(
    "sums",
    META,
    sa.Column("rollout", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
