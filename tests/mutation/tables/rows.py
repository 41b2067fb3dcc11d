"""What the tables of guards share: rows, and the tests that notice."""

from __future__ import annotations

from ..harness import Mutant

LAYERS = "tests/hostile/test_layers.py::"
CELLS = "tests/hostile/test_cells.py::"
CHECK = CELLS + "test_the_check_refuses[{}]"
PROGRAM = CELLS + "test_a_program_is_stopped_where_it_should_be[{}]"
RAW = CELLS + "test_a_program_past_the_check_gets_nothing[{}]"
ALONE = CELLS + "test_each_layer_that_is_named_stops_it_alone_and_no_other_does[{}]"
FRAME = LAYERS + "test_a_fork_that_was_taken_over_can_only_decide_badly[{}]"
ANSWER = LAYERS + "test_the_service_gets_the_incumbents_item_and_then_is_rid_of_it[{}]"
SENT = LAYERS + "test_a_service_refuses_what_is_sent_to_it[{}]"
GATE = LAYERS + "test_the_gate_that_is_named_refuses_and_none_before_it[{}]"
HACK = "tests/hostile/test_reward_hacks.py::"

#: guard, old text, new text, and the attack (or the test) that must get through to be noticed.
Row = tuple[str, str, str, str]


def within(file: str, form: str, *rows: Row) -> tuple[Mutant, ...]:
    """Return the mutants of a file.

    Args:
        file: from the root.
        form: node id of a test, with a place for an attack's name.
        rows: of the table; a test in one of them that is a path stands for itself.
    """
    return tuple(
        Mutant(guard, file, old, new, (test if test.startswith("tests/") else form.format(test),))
        for guard, old, new, test in rows
    )
