"""The report: tables in Markdown, and a plot of their ratios as SVG.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import dataclasses
import html
import math

BAR_HEIGHT = 16
LABEL_WIDTH = 300
PLOT_WIDTH = 420
VALUE_WIDTH = 60


@dataclasses.dataclass
class Table:
    """A section of the report. Each of ROWS is as long as COLUMNS; TEXT and VERBATIM may be empty."""
    title: str
    text: str
    columns: list = dataclasses.field(default_factory=list)
    rows: list = dataclasses.field(default_factory=list)
    verbatim: str = ''


@dataclasses.dataclass
class Bars:
    """A part of the plot: bars (label, ratio) on a logarithmic axis, with a line at MARK."""
    title: str
    mark: float
    bars: list


def number(value):
    """Three digits: the runs differ by more."""
    if value >= 100:
        return f'{value:.0f}'
    return f'{value:.1f}' if value >= 10 else f'{value:.2f}'


def markdown(tables, opening):
    lines = [opening]
    for table in tables:
        lines += [f'## {table.title}', '']
        if table.text:
            lines += [table.text.strip(), '']
        if table.rows:
            lines += ['| ' + ' | '.join(table.columns) + ' |']
            lines += ['| --- |' + ' ---: |' * (len(table.columns) - 1)]
            lines += ['| ' + ' | '.join(c if isinstance(c, str) else number(c) for c in row) + ' |'
                      for row in table.rows]
            lines += ['']
        if table.verbatim:
            lines += ['```', table.verbatim.rstrip(), '```', '']
    return '\n'.join(lines)


def text(x, y, content, extra=''):
    return f'<text x="{x:.0f}" y="{y:.0f}" {extra}>{html.escape(content)}</text>'


def plot_part(part, top):
    """The SVG elements of PART from the height TOP on, and the height of the next part."""
    low = min([part.mark] + [value for _, value in part.bars]) / 1.3
    high = max([part.mark] + [value for _, value in part.bars])
    scale = PLOT_WIDTH / math.log(high / low)
    mark = LABEL_WIDTH + math.log(part.mark / low) * scale
    out = [text(8, top + 16, part.title, 'font-weight="bold"')]
    top += 24
    for i, (label, value) in enumerate(part.bars):
        y = top + i * BAR_HEIGHT
        width = math.log(value / low) * scale
        color = '#4477aa' if value >= part.mark else '#cc8844'
        out += [text(LABEL_WIDTH - 8, y + 12, label, 'text-anchor="end"'),
                f'<rect x="{LABEL_WIDTH}" y="{y + 2}" width="{width:.1f}" height="{BAR_HEIGHT - 4}" fill="{color}"/>',
                text(LABEL_WIDTH + width + 4, y + 12, number(value))]
    bottom = top + len(part.bars) * BAR_HEIGHT
    out += [f'<line x1="{mark:.1f}" y1="{top}" x2="{mark:.1f}" y2="{bottom}" stroke="#222222"/>']
    return out, bottom + 16


def svg(parts):
    body = []
    top = 8
    for part in parts:
        if part.bars:
            out, top = plot_part(part, top)
            body += out
    width = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
    return '\n'.join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *body, '</svg>', ''])
