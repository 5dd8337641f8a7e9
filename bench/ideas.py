"""Ideas to improve SoKA that were tried, one arm each: bench/ideas.yaml.

    python bench/ideas.py [--part 1/2] [--only ARM ...]

Writes nbs/records/ideas; nbs/experiments/claims.ipynb shows it. What helps moves into the package, what does not stays here.
Each method below is also an example of how a rival is added to `soka compare`.
"""
import sys

from peft import get_peft_model

from soka.cli import main
from soka.compare import ALL, METHODS, Method
from soka.peft import SoKAConfig, base_weight, loss_gradients, targets_for, with_matrices

def started(b, terms=lambda k: k, matrix=lambda G, W: G):
    "SoKA's start, with the matrices that are decomposed or their terms changed."
    config, layers = targets_for(SoKAConfig(r=b.settings["r"], shape="low-rank", source="gradient", seed=b.seed, **ALL), b.model, "gradient")
    def matrices(some): return ((n, matrix(G, base_weight(some[n]))) for n, G in loss_gradients(b.model, some, b.batches(1)))
    config = with_matrices(config, layers, "gradient", matrices)
    vars(config)["starts"] = {n: terms(k) for n, k in vars(config)["starts"].items()}
    return get_peft_model(b.model, config)

def scaled(b):
    "Unit right factors, times a number (LoRA's rows have norm 0.58)."
    return started(b, lambda k: k._replace(V=k.V*b.settings["scale"]))

def by_spectrum(b):
    "Right factors as long as their share of the gradient says: scale set from the gradient."
    return started(b, lambda k: k._replace(V=k.V*(k.S/k.S[0]).sqrt()[:, None, None]))

def combined(b):
    "Gradient and weight, each of norm 1, decomposed together."
    return started(b, matrix=lambda G, W: G/G.norm() + b.settings["weight"]*W.to(G)/W.norm().to(G))

def mixed(b):
    "Two shapes in one layer, as two adapters that train together: low-rank terms and one balanced term."
    model = get_peft_model(b.model, SoKAConfig(r=b.settings["r"], shape="low-rank", seed=b.seed, **ALL))
    model.add_adapter("balanced", SoKAConfig(r=1, shape=b.settings["shape"], seed=b.seed, **ALL))
    model.base_model.set_adapter(["default", "balanced"])
    return model

METHODS.update({
    "scaled": Method(scaled, ("r", "scale")), "by spectrum": Method(by_spectrum, ("r",)),
    "combined": Method(combined, ("r", "weight")), "mixed": Method(mixed, ("r", "shape")),
})

if __name__ == "__main__": sys.exit(main(["compare", "bench/ideas.yaml", *sys.argv[1:]]))
