"""Programs that others write: prompts, answers, models' turns, and what agents and people tell a run."""
