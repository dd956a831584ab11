"""Figure 3: inside one generation.

The cosine similarities between the tokens of one window of every site, and which tokens were merged, at some steps;
results/figure3_<name>.json and .npz (results/smoke/ in the smoke profile), and the figures as PNG and PDF. The image is
that of an undisturbed run.

Examples:
    python -m scripts.figure3 model=tiny method=retom prompt="a goldfish"
"""

import logging
import sys

from omegaconf import DictConfig, OmegaConf

from scripts.command_line.entry import say
from scripts.command_line.prompting import as_hydra_reads_it, check_prompt, check_seed
from scripts.command_line.sweeps import Part, work_on_sweep
from scripts.jobs.row import read_row
from scripts.jobs.session import Session
from scripts.studies.look import Look
from scripts.tables import method_labels


def main() -> int:
    """Generate, record, report. Returns the exit status."""
    with as_hydra_reads_it():
        return work_on_sweep(_work, "figure3", one_method=True)


def _work(composed: DictConfig, choices: dict[str, str], part: Part) -> None:
    asked = OmegaConf.to_container(composed, resolve=True)  # checked first: to read the row imports its method
    look, prompt, seed = Look(**asked["figure3"]), check_prompt(asked["prompt"]), check_seed(asked["seed"])
    row, session = read_row(composed, choices), Session()
    from eval.report.page import FIGURES, folder_of
    from eval.report.studies.recording import write_recording
    from eval.report.studies.similarity import draw_recording
    from scripts.studies.recorder import record

    session.join(row.sampler.device)
    # Hydra prints what libraries log, and fontTools logs every glyph that goes into a PDF.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    recording = record(row, session, look, prompt=prompt, seed=seed)
    folder = folder_of(row.results, row.metrics.profile)
    paths = write_recording(recording, folder)
    drawings = draw_recording(recording, folder / FIGURES, method_labels().get(row.name))
    files = [*paths, *(file for drawing in drawings for file in drawing.files)]
    say(f"written: {', '.join(map(str, files))}")


if __name__ == "__main__":
    sys.exit(main())
