"""Writing the function that a service calls: the incumbent's own signature, one mode test first.

A generated function costs a third of a closure over ``*args, **kwargs``, and what would be calls can
stand in it as expressions. Its text reads like this (sync, items in ``backends``, recorded):

    def pick(request, backends):
        g_s = g_hook.segment
        if g_s is None:
            return g_incumbent(request, backends)
        ...
        g_push((g_s, g_n, g_t, g_m, g_picked, g_f))
        return g_picked

What can wait is left to the drainer: which item was picked, who the items are, since when.
"""

from __future__ import annotations

import functools
import inspect
import keyword
from collections.abc import Callable
from textwrap import indent
from typing import Any

from .errors import ConfigurationError

_STEP = " " * 4
PREFIX = "g_"  # of every name that is ours; no parameter may start with it

_HEAD = """\
{define} {name}({params}):
    {promise}
    g_s = g_hook.segment
    if g_s is None:
        {off}
    if g_s.far:
        g_passed()
        {off}
    g_t = g_now()
    if g_t >= g_s.until:
        g_s = g_advance()
    if g_s.skip:
        g_passed()
        {off}
    g_n = g_next()
    g_m = g_hook.members
"""

_SAME = """\
        if {items} != g_m.held if g_type({items}) is g_m.form else g_m.changed({items}):
            g_m = g_rejoin({items}, g_n)
"""

# Of sticky arms the unit says who decides. What is hashed is what the service gave, what is kept is redacted.
_SPLIT = """\
    try:
        g_w = {raw_unit}
        g_w = g_text(g_w) if g_w is not None else ""
        g_b = -1
        g_v = g_s.split
        if g_v is not None and g_w:
            g_b = g_v.hash((g_v.prefix + g_w).encode("utf-8", "surrogatepass"))
            if g_b < g_v.bound:
                g_s = g_v.candidate
        g_u = {kept_unit}
"""

# The incumbent is called outside of the handler, so that it sees no exception but its own.
_UNREAD = """\
    except g_Exception as g_error:
        g_failed(g_error)
        g_s = None
    if g_s is None:
        g_picked = {incumbent}
        {unkept}
"""

# What the items looked like is copied before the incumbent can touch them.
_DIRECT = f"""\
    if g_s.plain or g_s.answer is None:
        try:
{indent(_SAME, _STEP)}\
            g_f = g_m.read({{items}})
            {{take_unit}}
{indent(_UNREAD, _STEP)}\
        try:
            g_picked = {{incumbent}}
        except g_BaseException:
            g_raised()
            raise
        g_k = g_picked
        if g_m.loose:
            g_i = g_position(g_m, g_picked)
            if g_i < 0:
                {{unkept}}
            g_k = g_m.items[g_i]
        if g_s.plain:
            if g_len(g_items) < g_room:
                g_push((g_s, g_n, g_t, g_m, g_k, g_f{{unit}}))
                {{derive}}
                {{kept}}
        else:
            if g_s.tracks:
                g_i = g_m.position(g_k)
                if g_i >= 0:
                    g_m.last[g_i] = g_n
            if g_len(g_items) < g_room:
                g_push((g_s, g_n, g_t, g_m, g_k, g_f{{unit}}, g_context()))
                {{derive}}
                {{kept}}
        g_drop()
        {{unkept}}
"""

_GOVERNED = f"""\
    try:
{_SAME}\
        g_h = g_tuple({{items}})
        g_i, g_d, g_f, g_spent = g_s.answer(g_h, g_m, g_n)
        {{take_unit}}
{_UNREAD}\
    if g_i >= 0:
        g_d = g_s.detail
        g_picked = g_h[g_i]
    else:
        try:
            g_picked = {{incumbent}}
        except g_BaseException:
            g_raised()
            raise
        g_i = g_position(g_m, g_picked)
        if g_i < 0:
            {{unkept}}
    g_x = False
    g_p = 1.0
    if g_s.explore:
        g_i, g_p, g_x = g_explore(g_s, g_f, g_i)
        if g_x:
            g_picked = g_h[g_i]
    if g_n > g_m.last[g_i]:
        g_m.last[g_i] = g_n
    if g_s.record or g_d != g_s.detail:
        if g_len(g_items) < g_asked_room:
            g_c = g_context()
            g_push((g_asked, g_s, g_n, g_t, g_m, g_i, g_f, g_d, g_spent, g_p, g_x, g_c{{unit}}))
            {{derive}}
            {{kept}}
        g_drop()
    else:
        g_skipped()
    {{unkept}}
"""

_BODY = _HEAD + _DIRECT + _GOVERNED
_DIVIDED_BODY = _HEAD + _SPLIT + _UNREAD + _DIRECT + _GOVERNED

_ASYNC_DECIDE = """\
def decide({params}):
    return g_opened(lambda: g_decide_async({arguments}))
"""


def build(
    function: Callable[..., Any],
    signature: inspect.Signature,
    slots: dict[str, str],
    space: dict[str, Any],
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the wrapper of ``function`` and its ``decide``, both with its signature.

    Args:
        function: the incumbent.
        signature: of it.
        slots: ``items`` (name of the parameter that holds them), ``unit`` (expression, or nothing) and ``derive`` (statement that
            reports an outcome from the result of a plain call). Where arms may be sticky, ``raw_unit`` and ``kept_unit`` too:
            the expressions of the unit as given and, from that text, as kept.
        space: names the text refers to, without the prefix; kept as the globals of both functions,
            so that a later change of an entry takes effect.
    """
    _refuse_prefix(signature)
    awaits = inspect.iscoroutinefunction(function)
    divided = "raw_unit" in slots
    # As a text at once: what it is may change.
    taken = f"g_u = g_text({slots['unit']})" if slots["unit"] and not divided else "pass"
    values = {
        **slots,
        "take_unit": taken,
        "unit": ", g_u, g_b" if divided else ", g_u" if slots["unit"] else "",
        "name": _name(function.__name__),
        "define": "async def" if awaits else "def",
        "params": _parameters(signature, space),
        "arguments": _arguments(signature),
        "incumbent": f"{'await ' if awaits else ''}g_incumbent({_arguments(signature)})",
    }
    plain = {
        "off": f"return {values['incumbent']}",
        "unkept": "return g_picked",
        "kept": "return g_picked",
        "promise": "pass",
    }
    space.update(
        g_type=type,
        g_len=len,
        g_tuple=tuple,
        g_text=str,
        g_Exception=Exception,
        g_BaseException=BaseException,
    )
    body = _DIVIDED_BODY if divided else _BODY
    wrapper = _run(body, {**values, **plain}, values["name"], space)
    _copy_metadata(wrapper, function)
    return wrapper, _decide(body, values, space, awaits)


def _name(given: str) -> str:
    return given if given.isidentifier() and not keyword.iskeyword(given) else "hooked"


def _decide(
    body: str, values: dict[str, str], space: dict[str, Any], awaits: bool
) -> Callable[..., Any]:
    opened = {
        "off": f"return g_open(g_hook, {values['incumbent']}, -1, False)",
        "unkept": "return g_open(g_hook, g_picked, g_n, False)",
        "kept": "return g_open(g_hook, g_picked, g_n, True)",
        "promise": "g_hook.delayed = True",
        "derive": "pass",
        "name": "decide_async" if awaits else "decide",
    }
    function = _run(body, {**values, **opened}, opened["name"], space)
    if not awaits:
        return function
    space["g_decide_async"] = function
    return _run(_ASYNC_DECIDE, values, "decide", space)


def _run(
    template: str, values: dict[str, str], name: str, space: dict[str, Any]
) -> Callable[..., Any]:
    local: dict[str, Any] = {}
    text = template.format(**values)
    exec(compile(text, f"<gnomon {values['name']}>", "exec"), space, local)  # noqa: S102 - our own text
    made: Callable[..., Any] = local[name]
    return made


def _copy_metadata(wrapper: Callable[..., Any], function: Callable[..., Any]) -> None:
    functools.update_wrapper(wrapper, function)


def _refuse_prefix(signature: inspect.Signature) -> None:
    for name in signature.parameters:
        if name.startswith(PREFIX):
            raise ConfigurationError(
                f"parameter {name!r} starts with {PREFIX!r}, which is reserved; rename it"
            )


def _parameters(signature: inspect.Signature, space: dict[str, Any]) -> str:
    """Return the parameters as source; defaults are the very objects of the incumbent's."""
    parts: list[str] = []
    kinds = [p.kind for p in signature.parameters.values()]
    starred = inspect.Parameter.VAR_POSITIONAL in kinds
    for i, parameter in enumerate(signature.parameters.values()):
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        parts.append(_parameter(parameter, space))
        last_positional = parameter.kind is parameter.POSITIONAL_ONLY and (
            i + 1 == len(kinds) or kinds[i + 1] is not parameter.POSITIONAL_ONLY
        )
        if last_positional:
            parts.append("/")
    return ", ".join(parts)


def _parameter(parameter: inspect.Parameter, space: dict[str, Any]) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{parameter.name}"
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    if parameter.default is parameter.empty:
        return parameter.name
    space[f"g_default_{parameter.name}"] = parameter.default
    return f"{parameter.name}=g_default_{parameter.name}"


def _arguments(signature: inspect.Signature) -> str:
    forms: dict[Any, str] = {
        inspect.Parameter.VAR_POSITIONAL: "*{0}",
        inspect.Parameter.VAR_KEYWORD: "**{0}",
        inspect.Parameter.KEYWORD_ONLY: "{0}={0}",
    }
    return ", ".join(forms.get(p.kind, "{0}").format(p.name) for p in signature.parameters.values())
