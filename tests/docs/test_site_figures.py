"""The figures of the page of submitted results: one for each table, with the rows that may be on its front."""

import re

from docs.site_figures import draw, with_fronts

HEAD = "| Method | ssim ↑ | tokens kept | s/im | front |\n| --- | ---: | ---: | ---: | --- |\n"
PAGE = f"""# Submitted results

## Tiny track

Quality is `ssim`. Cost is the share of tokens kept.

### cpu-a

{HEAD}| Baseline | 1.00 [1.00, 1.00] | 1.00 | 0.2 | ● |
| ReToM (Ours) | 0.79 [0.75, 0.83] | 0.50 | 0.1† | ● |
| ATC | 0.70 [0.66, 0.75] | 0.61 | 0.3 |  |
| Oracle | 0.74 [0.70, 0.79] | 0.50 | 0.1 | - |

## Table I

Quality is `ssim`. Cost is time per image at batch 1.

### gpu-b

{HEAD}| Baseline | 1.00 [1.00, 1.00] | 1.00 | 2.5 | ● |
| ReToM (Ours) | 0.79 [0.75, 0.83] | 0.50 | 2.1 | ● |

### gpu-c

{HEAD}| Baseline | 1.00 [1.00, 1.00] | 1.00 | 2.5 | ● |

## Marked invalid
"""


def texts(figure: bytes) -> set[str]:
    return set(re.findall(r"<text[^>]*>([^<]*)</text>", figure.decode()))


def test_every_table_of_several_rows_has_its_figure() -> None:
    page, figures = with_fronts(PAGE)
    assert list(figures) == ["front_0.svg", "front_1.svg"]
    assert "### cpu-a\n\n![Quality over cost; on the front: Baseline, ReToM (Ours)](front_0.svg)\n" in page
    assert re.sub(r"!\[[^\n]*\n+", "", page).split() == PAGE.split()
    assert "share of tokens kept ↓" in texts(figures["front_0.svg"])
    assert "time per image (s) ↓" in texts(figures["front_1.svg"])


def test_the_front_and_retom_are_named_and_the_same_rows_give_the_same_file() -> None:
    points = [
        {"label": name, "x": x, "y": x, "low": x, "high": x, "front": front}
        for name, x, front in (("Baseline", 1.0, True), ("ReToM (Ours)", 0.5, False), ("ATC", 0.6, False))
    ]
    figure = draw(points, "ssim", "cost")
    assert texts(figure) >= {"Baseline", "ReToM (Ours)", "ssim ↑"}
    assert "ATC" not in texts(figure)
    assert figure == draw(points, "ssim", "cost")
