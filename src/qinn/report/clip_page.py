"""One scored clip as a page: what is said and what it does, the score on its scale, the seconds, the doubts.

The fragment has no style, no script and no request of its own, so it stands under the strictest content security
policy; words and stretches of time carry their seconds (`data-begin`, `data-end`) for a script that scrubs.
"""

import html
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import qinn
from qinn.destinations import Destination, check_destination
from qinn.escaping import visible
from qinn.results.clip_score import ClipScore, Outcome, SpanEffect, SpokenWord
from qinn.results.clip_score_tables import correlation_words, explained_words, in_words, quality_words
from qinn.results.number_text import brief, number, percent

__all__ = ["clip_css", "clip_fragment", "clip_page", "clip_page_destination", "write_clip_page"]

_LEVELS = 5
_LEAST = 0.02
_UNSURE = 0.5
_MOST_NUMBERED = 120
_ROW = 46
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_COMMAND = "score"


@cache
def clip_css() -> str:
    """Return the style sheet of the fragment: light and dark, from the width of a telephone on."""
    return files("qinn.report").joinpath("clip_page.css").read_text("utf-8")


def clip_fragment(score: ClipScore) -> str:
    """Return a scored clip as HTML to stand in a page that has `clip_css`; nothing in it is mark-up of others.

    Args:
        score: The scored clip.
    """
    what = explained_words(score)
    return "\n".join(
        [
            f'<article class="clip-score" aria-label="Score of {_text(score.clip)}">',
            f"<h2>{_text(score.clip)}, {score.seconds:.1f} s</h2>",
            *_outcome(score.outcome),
            *_warnings(score),
            *_transcript(score, what),
            *_timeline(score, what),
            *_modalities(score, what),
            *_states(score),
            *_quality(score),
            *_provenance(score),
            "</article>",
        ]
    )


def clip_page(score: ClipScore) -> str:
    """Return a scored clip as one page that needs no other file and no network.

    Args:
        score: The scored clip.
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<meta name="generator" content="qinn {_COMMAND} {qinn.__version__}">',
            f"<title>{_text(score.clip)}: {_text(in_words(score.outcome))}</title>",
            f"<style>\nbody {{ margin: 0; }}\n{clip_css()}"
            "html { background: #fff; }\n"
            "@media (prefers-color-scheme: dark) { html { background: #161616; } }\n</style>",
            "</head>",
            "<body>",
            "<main>",
            clip_fragment(score),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def clip_page_destination(
    target: Path, *, overwrite: bool = False, inputs: Iterable[Path | str] = ()
) -> Destination:
    """Check where a page is to be written, before a clip is scored.

    Args:
        target: The file to be.
        overwrite: Replace a file that is no such page.
        inputs: What the command reads.

    Raises:
        OutputError: If the place is another's or cannot be written.
    """
    # Here, since the server that shows fragments does without the libraries of figures and tables.
    from qinn.report.page import page_of

    return check_destination(target, page_of(_COMMAND), overwrite=overwrite, inputs=inputs)


def write_clip_page(score: ClipScore, target: Path, *, overwrite: bool = False) -> Path:
    """Write the page of a scored clip, and return where.

    Args:
        score: The scored clip.
        target: The file to be.
        overwrite: Replace a file that is no such page.

    Raises:
        OutputError: If the place is another's or cannot be written.
    """
    from qinn.results.files import write_text

    place = clip_page_destination(target, overwrite=overwrite)
    write_text(place.path, clip_page(score), overwrite=place.replaces)
    return place.path


def _text(value: object) -> str:
    return html.escape(visible(str(value)))


def _said(sentence: str) -> str:
    """Return a sentence in which what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(sentence))


def _scale_of_effects(outcome: Outcome, effects: Iterable[float | None]) -> float:
    """Return what the strongest colour or the highest bar stands for: no less than two hundredths of the scale."""
    whole = 1.0 if outcome.scale is None else outcome.scale[1] - outcome.scale[0]
    return max(_LEAST * whole, 0.0, *(abs(effect) for effect in effects if effect is not None))


def _effect(value: float | None) -> str:
    """Return an effect with as many digits as it needs to be told from none."""
    return number(value, digits=3 if value is not None and abs(value) < 0.0995 else 2, signed=True)


def _outcome(outcome: Outcome) -> list[str]:
    first, *rest = in_words(outcome).split("; ")
    said = "".join(f"<small>{_text(one)}</small>" for one in rest)
    lines = [f'<p class="headline">{_text(first[:1].upper() + first[1:])}{said}</p>']
    if outcome.kind == "regression":
        lines += _scale(outcome)
    else:
        lines += ['<div class="scroll" role="region" tabindex="0" aria-label="Probabilities"><table>']
        lines += ['<thead><tr><th scope="col">what</th><th scope="col">probability</th>']
        lines += [
            f'<th scope="col">{percent(outcome.level)} set</th><th scope="col"></th></tr></thead><tbody>'
        ]
        for one in outcome.classes:
            possible = {True: "can be", False: "excluded", None: "–"}.get(one.possible, str(one.possible))
            bar = _bar(one.probability, 1.0, from_middle=False)
            lines.append(
                f'<tr><th scope="row">{_text(one.name)}{" (predicted)" if one.decided else ""}</th>'
                f'<td>{number(one.probability, digits=2)}</td><td>{_text(possible)}</td><td class="bar">{bar}</td></tr>'
            )
        lines.append("</tbody></table></div>")
    lines.append(f'<p class="note">{_said(outcome.certainty)}</p>')
    lines.append(
        '<p class="note">This is what a model predicts from words, voice and picture; it is no measurement of what '
        "anybody feels or thinks.</p>"
    )
    return lines


def _scale(outcome: Outcome) -> list[str]:
    """Draw the score and its interval on the scale."""
    assert outcome.scale is not None  # of a score
    assert outcome.score is not None
    low, high = outcome.scale
    ends = [end for end in (outcome.low, outcome.high, outcome.score) if end is not None]
    left, right = min(low, *ends), max(high, *ends)
    room = 0.04 * (right - left)
    left, right = left - room, right + room

    def x(value: float) -> str:
        return f"{100 * (value - left) / (right - left):.2f}%"

    ticks = sorted({low, high, outcome.middle if outcome.middle is not None else low})
    parts = [f'<line class="axis" x1="{x(low)}" x2="{x(high)}" y1="30" y2="30"/>']
    if outcome.low is not None and outcome.high is not None:
        width = f"{100 * (outcome.high - outcome.low) / (right - left):.2f}%"
        parts.append(f'<rect class="range" x="{x(outcome.low)}" width="{width}" y="22" height="16" rx="3"/>')
    for tick in ticks:
        parts.append(f'<line class="axis" x1="{x(tick)}" x2="{x(tick)}" y1="25" y2="35"/>')
        parts.append(f'<text x="{x(tick)}" y="54" text-anchor="middle">{brief(tick)}</text>')
    parts.append(f'<circle class="dot" cx="{x(outcome.score)}" cy="30" r="6"/>')
    shown = number(outcome.score, digits=2, signed=True)
    parts.append(f'<text class="strong" x="{x(outcome.score)}" y="14" text-anchor="middle">{shown}</text>')
    label = _text(in_words(outcome))
    return [f'<svg height="60" role="img" aria-label="{label}">{"".join(parts)}</svg>']


def _warnings(score: ClipScore) -> list[str]:
    if not score.warnings:
        return []
    items = "".join(f"<li>{_said(one)}</li>" for one in score.warnings)
    return [f'<ul class="warnings" aria-label="Doubts">{items}</ul>']


def _level(effect: float, largest: float) -> int:
    share = abs(effect) / largest
    return 0 if share < 0.06 else min(_LEVELS, 1 + int(share * _LEVELS * 0.999))


def _transcript(score: ClipScore, what: str) -> list[str]:
    if not score.words:
        return []
    effects = [word.effect for word in score.words if word.effect is not None]
    largest = _scale_of_effects(score.outcome, effects)
    lines = ["<h3>What is said, and what it does</h3>"]
    numbered = len(score.words) <= _MOST_NUMBERED
    lines.append(
        '<p class="words">' + " ".join(_word(word, largest, numbered) for word in score.words) + "</p>"
    )
    if effects:
        lines.append(
            f'<p class="note">Below each word: by how much the {_text(what)} is higher '
            '(<span class="key up-4"></span> +) or lower (<span class="key down-4"></span> −) than without it. The '
            f"strongest colour is {number(largest, digits=2)}. Dotted: the recogniser is not sure of the word.</p>"
        )
    return lines


def _word(word: SpokenWord, largest: float, numbered: bool) -> str:
    classes, shown = ["word"], ""
    about = f"{word.begin:.1f} to {word.end:.1f} s"
    if word.probability is not None:
        about += f", probability {word.probability:.2f}"
        if word.probability < _UNSURE:
            classes.append("unsure")
    if word.effect is not None:
        level = _level(word.effect, largest)
        if level:
            classes.append(f"{'up' if word.effect > 0 else 'down'}-{level}")
        else:
            classes.append("faint")
        hidden = "" if level > 1 or (numbered and level) else ' class="sr"'
        if not hidden:
            classes.append("numbered")
        shown = f"<small{hidden}>{_effect(word.effect)}</small>"
        about += f", effect {number(word.effect, signed=True)}"
    if word.memory is not None and word.memory.contraction is not None:
        about += f"; the memory forgets {word.memory.contraction:.2f} of what it held"
        if word.memory.rotation is not None:
            about += f" and turns by {word.memory.rotation:.2f} rad"
    return (
        f'<span class="{" ".join(classes)}" data-begin="{word.begin:g}" data-end="{word.end:g}" title="{_text(about)}">'
        f"<span>{_text(word.text)}</span>{shown}</span>"
    )


def _timeline(score: ClipScore, what: str) -> list[str]:
    """Draw what each stretch of time does, all modalities on one scale."""
    strips = [(strip.modality, strip.spans) for strip in score.strips]
    said = tuple(
        SpanEffect(begin=word.begin, end=max(word.end, word.begin + 0.02), effect=word.effect)
        for word in score.words
    )
    if said and any(word.effect is not None for word in score.words):
        strips.insert(0, ("words", said))
    if not strips:
        return []
    largest = _scale_of_effects(score.outcome, (span.effect for _, spans in strips for span in spans))
    duration = max(score.seconds, *(span.end for _, spans in strips for span in spans))
    lines = [
        "<h3>When</h3>",
        f'<p class="note">By how much the {_text(what)} is higher (up) or lower (down) than without each stretch of '
        f"time; all rows are drawn to one scale, whose half height is {number(largest, digits=2)}. Grey: nothing is "
        "there.</p>",
    ]
    for name, spans in strips:
        lines.append(f'<p class="soft">{_text(name)}</p>')
        lines.append(_strip(name, spans, duration, largest, what))
    lines.append(_seconds_axis(duration))
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{span.begin:.1f}</td><td>{span.end:.1f}</td>'
        f"<td>{number(span.effect, signed=True)}</td></tr>"
        for name, spans in strips
        for span in spans
        if name != "words"
    )
    if rows:
        lines.append(
            "<details><summary>The numbers of this drawing</summary>"
            '<div class="scroll" role="region" tabindex="0" aria-label="Effects of stretches of time"><table>'
            '<thead><tr><th scope="col">modality</th><th scope="col">from (s)</th><th scope="col">to (s)</th>'
            f'<th scope="col">effect on the {_text(what)}</th></tr></thead><tbody>{rows}</tbody></table></div>'
            "</details>"
        )
    return lines


def _strip(name: str, spans: Sequence[SpanEffect], duration: float, largest: float, what: str) -> str:
    middle, parts = _ROW / 2, []
    for span in spans:
        left, width = 100 * span.begin / duration, 100 * (span.end - span.begin) / duration
        place = f'x="{left:.3f}%" width="{max(width - 0.12, 0.1):.3f}%"'
        seconds = f'data-begin="{span.begin:g}" data-end="{span.end:g}"'
        if span.effect is None:
            title = f"{span.begin:.1f} to {span.end:.1f} s: nothing there"
            kind, top, height = "none", middle - 2, 4.0
        else:
            title = f"{span.begin:.1f} to {span.end:.1f} s: {number(span.effect, signed=True)}"
            height = max((middle - 2) * abs(span.effect) / largest, 0.5)
            kind, top = ("up", middle - height) if span.effect > 0 else ("down", middle)
        parts.append(
            f'<rect class="{kind}" {place} y="{top:.1f}" height="{height:.1f}" {seconds}>'
            f"<title>{_text(title)}</title></rect>"
        )
    strongest = max(
        (span for span in spans if span.effect is not None),
        key=lambda one: abs(one.effect or 0.0),
        default=None,
    )
    label = f"Effect of {name} along time on the {what}"
    if strongest is not None:
        most = number(strongest.effect, signed=True)
        label += f"; strongest from {strongest.begin:.1f} to {strongest.end:.1f} s, {most}"
    line = f'<line class="faint" x1="0%" x2="100%" y1="{middle:g}" y2="{middle:g}"/>'
    return f'<svg class="strip" height="{_ROW}" role="img" aria-label="{_text(label)}">{line}{"".join(parts)}</svg>'


def _seconds_axis(duration: float) -> str:
    step = next((one for one in (0.5, 1, 2, 5, 10, 30, 60, 120) if duration / one <= 8), 300)
    ticks, at = [], 0.0
    while at <= duration + 1e-9:
        x = f"{100 * at / duration:.2f}%"
        anchor = "start" if at == 0 else "end" if at > 0.97 * duration else "middle"
        ticks.append(f'<line class="axis" x1="{x}" x2="{x}" y1="0" y2="5"/>')
        ticks.append(f'<text x="{x}" y="19" text-anchor="{anchor}">{at:g}{" s" if at == 0 else ""}</text>')
        at += step
    axis = '<line class="axis" x1="0%" x2="100%" y1="0.5" y2="0.5"/>'
    return f'<svg height="24" aria-hidden="true">{axis}{"".join(ticks)}</svg>'


def _bar(value: float | None, largest: float, *, from_middle: bool = True) -> str:
    if value is None:
        return ""
    share = 100 * abs(value) / largest
    if from_middle:
        share /= 2
        left = 50.0 if value > 0 else 50 - share
        line = '<line class="faint" x1="50%" x2="50%" y1="0" y2="14"/>'
    else:
        left, line = 0.0, ""
    kind = "up" if value > 0 else "down"
    return (
        f'<svg height="14" aria-hidden="true">{line}<rect class="{kind}" x="{left:.2f}%" width="{share:.2f}%" y="2" '
        'height="10"/></svg>'
    )


def _modalities(score: ClipScore, what: str) -> list[str]:
    if not score.modalities:
        return []
    largest = _scale_of_effects(score.outcome, (one.effect for one in score.modalities))
    rows = []
    for one in score.modalities:
        said = (
            f"<td>{number(one.without, digits=2, signed=score.explained.of is None)}</td>"
            f'<td>{_effect(one.effect)}</td><td class="bar">{_bar(one.effect, largest)}</td>'
            if one.effect is not None
            else f'<td class="left" colspan="3">{_said(one.reason)}</td>'
        )
        rows.append(f'<tr><th scope="row">{_text(one.modality)}</th>{said}</tr>')
    return [
        "<h3>Words, voice, face</h3>",
        '<div class="scroll" role="region" tabindex="0" aria-label="Modalities"><table><thead><tr>'
        f'<th scope="col">what</th><th scope="col">{_text(what)} without it</th><th scope="col">what it does</th>'
        f'<th scope="col"></th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>',
    ]


def _states(score: ClipScore) -> list[str]:
    if not score.correlations and score.jumps is None:
        return []
    lines = ["<h3>The state that the model made of it</h3>"]
    if score.correlations:
        kinds = {"entanglement": "entanglement of", "mutual_information": "mutual information of"}
        items = "".join(
            f"<dt>{kinds.get(one.kind, one.kind)} {_text(one.between)}</dt><dd>{_text(correlation_words(one))}</dd>"
            for one in score.correlations
        )
        lines.append(f"<dl>{items}</dl>")
    if score.jumps is not None:
        lines.append(f"<p>{score.jumps:.2f} quantum jumps are expected in a trajectory of this clip.</p>")
    return lines


def _quality(score: ClipScore) -> list[str]:
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in quality_words(score))
    notes = "".join(f'<p class="note">{_said(one)}</p>' for one in score.notes)
    return ["<h3>The clip as material</h3>", f"<dl>{items}</dl>{notes}"]


def _provenance(score: ClipScore) -> list[str]:
    made = score.provenance
    pairs: list[tuple[str, str]] = [
        ("run", made.run),
        ("model", made.model),
        ("seeds", ", ".join(map(str, made.seeds))),
        ("trained on", made.trained_on),
        ("qinn", made.qinn),
        *((f"features of {name}", tier) for name, tier in made.tiers.items()),
        ("words heard by", made.heard_by or "nobody"),
        ("SHA-256 of the clip", made.clip_sha256),
        *((name, version) for name, version in made.packages.items()),
        *((f"seconds of {stage}", f"{seconds:.2f}") for stage, seconds in made.seconds.items()),
        *((name, digest) for name, digest in made.run_files.items()),
    ]
    items = "".join(f"<dt>{_text(name)}</dt><dd><code>{_text(value)}</code></dd>" for name, value in pairs)
    return [f"<details><summary>What made this result</summary><dl>{items}</dl></details>"]
