"""Tests of the sdk room: what users write and what runs on their request path."""
