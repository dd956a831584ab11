"""The specifications of Tables I and II as the tests of tables use them."""

from typing import Any

from eval.tables.spec import TableSpec

TABLE1 = {
    "name": "table1",
    "title": "Table I",
    "rows": [
        {
            "method": "none",
            "model": "Stable Diffusion",
            "window_size": None,
            "dest_token": None,
            "paper": {"fid": 37.02, "clip": 38.10, "s_per_im": 2.62},
        },
        {
            "method": "tomesd",
            "model": "ToMeSD",
            "window_size": "Fixed (2)",
            "dest_token": "Random",
            "paper": {"fid": 37.20, "clip": 36.00, "s_per_im": 2.10},
        },
        {"method": "atc", "model": "ATC", "paper": {"fid": 36.96, "clip": 37.47, "s_per_im": 110.25}},
        {
            "method": "retom",
            "model": "ReToM (Ours)",
            "window_size": "Adaptive",
            "dest_token": "Rep. Token",
            "paper": {"fid": 34.89, "clip": 39.40, "s_per_im": 2.17},
        },
    ],
}
TABLE2 = {
    "name": "table2",
    "title": "Table II",
    "extra_rows": "options",
    "rows": [
        {"method": "retom", "destination": "The Most Rep. Token", "paper": {"fid": 34.89, "ssim": 0.74}},
        {"method": "retom_least", "destination": "The Least Rep. Token", "paper": {"fid": 36.26, "ssim": 0.72}},
    ],
}
METHODS = ("none", "tomesd", "atc", "retom", "retom_least")


def make_spec(data: dict = TABLE1, **changes: Any) -> TableSpec:
    shipped = {name: {"_target_": f"some.package.{name}"} for name in METHODS}
    shipped["retom"] |= {"ratio": 0.5, "window": {"down": 2, "mid": 8}}
    return TableSpec.from_data({**data, **changes}, methods=shipped, backend="gather")
