"""Ideas to improve SoKA that were tried, one arm each: bench/ideas.yaml, and on a real base bench/ideas-smollm2.yaml.

    python bench/ideas.py [FILE] [--part 1/2] [--only ARM ...]

Writes nbs/records/ideas and nbs/records/ideas-smollm2; nbs/experiments/claims.ipynb shows them. What helps moves into the package, what does not stays here.
Each method below is also an example of how a rival is added to `soka compare`.
"""
import sys
from functools import partial

import torch
from peft import get_peft_model
from transformers import get_cosine_schedule_with_warmup

from soka.cli import main
from soka.compare.methods import ALL, METHODS, Method, all_linear, build_full
from soka.peft import SoKAConfig, soka_layers
from soka.weights.backend import base_weight
from soka.adapter.starts import loss_gradients, with_matrices
from soka.adapter.targets import targets_for
from soka.method.kpsvd import kpsvd
from soka.method.start import arm, orthonormal_rows, start_norm, write

def started(b, terms=lambda k: k, matrix=lambda n, G: G):
    "SoKA's start, with the matrices that are decomposed or their terms changed."
    config, layers = targets_for(SoKAConfig(r=b.settings["r"], rank_pattern=b.settings.get("rank_pattern", {}), shape="low-rank", source="gradient", seed=b.seed, **ALL), b.model, "gradient")
    def matrices(some): return ((n, matrix(n, G)) for n, G in loss_gradients(b.model, some, b.batches(1)))
    config = with_matrices(config, layers, "gradient", matrices)
    config.starts = {n: terms(k) for n, k in config.starts.items()}
    return get_peft_model(b.model, config)

def adapted(b): return {n: b.model.get_submodule(n) for n in all_linear(b.model)}

def scaled(b):
    "The start's right factors, times a number."
    return started(b, lambda k: k._replace(V=k.V*b.settings["scale"]))

def by_spectrum(b):
    "Right factors as long as their share of the gradient says: scale set from the gradient."
    return started(b, lambda k: k._replace(V=k.V*(k.S/k.S[0]).sqrt()[:, None, None]))

def combined(b):
    "Gradient and weight, each of norm 1, decomposed together."
    def both(n, G):
        W = base_weight(b.model.get_submodule(n)).to(G)
        return G/G.norm() + b.settings["weight"]*W/W.norm()
    return started(b, matrix=both)

def mixed(b):
    "Two shapes in one layer, as two adapters that train together: low-rank terms and one balanced term."
    model = get_peft_model(b.model, SoKAConfig(r=b.settings["r"], shape="low-rank", seed=b.seed, **ALL))
    model.add_adapter("balanced", SoKAConfig(r=1, shape=b.settings["shape"], seed=b.seed, **ALL))
    model.base_model.set_adapter(["default", "balanced"])
    return model

class Taps:
    "Hooks that keep each call's input and output of some layers."
    def __init__(self, layers:dict[str, torch.nn.Module]):
        self.calls:list[tuple[str, torch.Tensor, torch.Tensor]] = []
        self.handles = [l.register_forward_hook(partial(self.keep, n)) for n,l in layers.items()]

    def keep(self, name:str, layer:torch.nn.Module, args:tuple, y:torch.Tensor)->torch.Tensor:
        "After a call of the layer: its output takes part in the graph, even where nothing before it does."
        if not y.requires_grad: y = y.detach().requires_grad_()
        self.calls.append((name, args[0].detach(), y))
        return y

    def remove(self)->None:
        for h in self.handles: h.remove()

def inverse_root(C):
    "C^(-1/4) of a second moment, a little of its mean added."
    L, Q = torch.linalg.eigh(C + 1e-3*C.trace()/len(C)*torch.eye(len(C)))
    return Q*L.pow(-1/4)@Q.T

def whitened(b):
    "Right factors of A^(-1/4) G B^(-1/4), A and B the second moments of output gradients and inputs: Shampoo's step."
    taps = Taps(adapted(b))
    loss = b.model(**b.batches(1)[0]).loss
    taps.remove()
    roots = {}
    for (n, x, _), g in zip(taps.calls, torch.autograd.grad(loss, [y for _, _, y in taps.calls])):
        x, g = x.flatten(0, -2), g.flatten(0, -2)
        roots[n] = inverse_root(g.T@g), inverse_root(x.T@x)
    return started(b, matrix=lambda n, G: roots[n][0]@G@roots[n][1])

def hindsight(b):
    "Right factors of what 100 steps of full fine-tuning on the same batches change: more than any start can know."
    weights = {n: l.weight for n, l in adapted(b).items()}
    before = {n: W.detach().clone() for n, W in weights.items()}
    build_full(b)
    optimizer = torch.optim.AdamW(weights.values(), 2e-3, weight_decay=0.)
    schedule = get_cosine_schedule_with_warmup(optimizer, 10, 100)
    for batch in b.batches(100):
        optimizer.zero_grad()
        b.model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.)
        optimizer.step()
        schedule.step()
    change = {n: W.detach() - before[n] for n, W in weights.items()}
    for n, W in weights.items(): W.data.copy_(before[n])
    return started(b, matrix=lambda n, G: change[n])

SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))

def shared(b):
    "One set of right factors for layers that read the same input: those of their gradients together. The terms saved go to attention."
    groups = {n: [n.replace(k, o) for o in g] for n in adapted(b) for g in SAME_INPUT for k in g if n.endswith(k)}
    gradients = dict(loss_gradients(b.model, adapted(b), b.batches(1)))
    def stacked(n, G):
        "A matrix of G's shape whose right singular vectors are those of the group's gradients together."
        S, Vh = torch.linalg.svd(torch.cat([gradients[o] for o in groups.get(n, [n])]), full_matrices=False)[1:]
        return torch.eye(len(G), len(S))*S@Vh
    model = started(b, matrix=stacked)
    layers = soka_layers(model.get_base_model())
    for first, *others in groups.values():
        for n in others: layers[n].soka_terms["default"].V = layers[first].soka_terms["default"].V
    return model

def frozen(b):
    "Only the left factors are trained, and there are more terms for it."
    model = started(b)
    for l in soka_layers(model).values(): l.soka_terms["default"].V.requires_grad_(False)
    return model

class Core(torch.nn.Module):
    "A linear layer plus U C V, where a square core C of zeros is trained between frozen directions of the outputs and the inputs."
    def __init__(self, base:torch.nn.Module, U:torch.Tensor, V:torch.Tensor):
        super().__init__()
        self.base_layer, self.core = base, torch.nn.Parameter(torch.zeros(len(U), len(V)))
        self.register_buffer("U", U)
        self.register_buffer("V", V)

    def forward(self, x:torch.Tensor)->torch.Tensor:
        y = self.base_layer(x)
        return y + (x.to(self.V.dtype) @ self.V.T @ self.core.T @ self.U).to(y.dtype)

def core(b):
    """As many leading directions of the first gradient, or of the weight, as the budget pays for, and a core trained between them.

    Of the weight it is LoRA-XS (Balazy et al. 2024), of the gradient near LoRA-SB (Ponkshe et al. 2024), which starts from another core.
    Its rows have norms at which a step moves the output about as far as a step of SoKA's U does.
    """
    layers = adapted(b)
    r = int((b.budget/len(layers))**0.5)
    weights = ((n, base_weight(l).float()) for n, l in layers.items())
    found = list(loss_gradients(b.model, layers, b.batches(1), r)) if b.settings["of"] == "gradient" else weights
    b.model.requires_grad_(False)
    for n, M in found:
        k = kpsvd(M, (M.shape[0], 1, 1, M.shape[1]), r)
        b.model.set_submodule(n, Core(layers[n], k.U[:, :, 0]*(M.shape[0]/r)**0.5, start_norm(M.shape[1])*k.V[:, 0]))
    return b.model

def feature_sizes(model, batch, layers):
    "By layer: root mean square of what each row of V makes of the inputs, and of what a row as LoRA draws it would, over tokens that count."
    found, counts = {}, batch["attention_mask"].flatten().bool()
    def measure(n, t, x):
        x = x.flatten(0, -2)[counts].double()
        found[n] = (x @ t.V.double().T).square().mean(0).sqrt(), x.square().mean().div(3).sqrt()
    handles = [l.register_forward_hook(lambda l, args, y, n=n: measure(n, l.soka_terms["default"], args[0])) for n, l in layers.items()]
    with torch.no_grad(): model(**batch)
    for h in handles: h.remove()
    return found

def spectral(Y):
    "Right singular vectors of the sketch, each as much shorter than 1/sqrt(3) as its singular value is larger than the last."
    _, S, Vh = torch.linalg.svd(Y.double(), full_matrices=False)
    return (S[-1]/S)[:, None]*Vh/3**0.5

def turned(Y):
    "The rows turned among each other by a random rotation: they share every direction."
    Q = orthonormal_rows(Y)
    return torch.linalg.qr(torch.randn(len(Q), len(Q), generator=torch.Generator().manual_seed(0), dtype=Q.dtype))[0]@Q/3**0.5

RULES = {
    "unit": orthonormal_rows, "turned": turned, "spectral": spectral,
    "signs": lambda Y: orthonormal_rows(Y).sign()/(3*Y.shape[1])**0.5,
    "random": lambda Y: torch.empty_like(Y).uniform_(-1, 1)/Y.shape[1]**0.5,
    "measured": orthonormal_rows, "by width": lambda Y: start_norm(Y.shape[1])*orthonormal_rows(Y),
}

def centred(counts):
    "A hook that takes the mean input over the tokens that count from what a module of terms gets."
    def centre(terms, args):
        x, *rest = args
        return (x - x[counts].mean(0), *rest)
    return centre

def by_rule(b):
    """SoKA's sketch of the first batch's gradient, made into right factors by a rule of its own, times `scale`.

    With `centred` the gradient is the one of centred inputs: it does not hold the bias that the layer would like to have.
    """
    size = dict(budget=int(b.settings["budget"]*b.full_count)) if "budget" in b.settings else dict(r=b.settings["r"])
    model = get_peft_model(b.model, SoKAConfig(shape="low-rank", seed=b.seed, **size, **ALL))
    batch, layers, rule = b.batches(1)[0], soka_layers(model.get_base_model()), b.settings["rule"]
    terms = {n: l.soka_terms["default"] for n, l in layers.items()}
    hook = centred(batch["attention_mask"].bool())
    handles = [t.register_forward_pre_hook(hook) for t in terms.values() if b.settings.get("centred")]
    model.train()(**batch).loss.backward()
    for h in handles: h.remove()
    for t in terms.values():
        write(t.V, RULES[rule](t.V.grad.cpu())*b.settings.get("scale", 1.))
        write(t.U, None)
        t.U.grad = t.V.grad = None
        arm(t)
    if rule == "measured":
        for n, (own, lora) in feature_sizes(model, batch, layers).items():
            with torch.no_grad(): terms[n].V.mul_((b.settings.get("scale", 1.)*lora/own)[:, None])
    return model

METHODS.update({
    "scaled": Method(scaled, ("r", "scale")), "by spectrum": Method(by_spectrum, ("r",)),
    "combined": Method(combined, ("r", "weight")), "mixed": Method(mixed, ("r", "shape")),
    "whitened": Method(whitened, ("r",)), "hindsight": Method(hindsight, ("r",)),
    "by rule": Method(by_rule, ("r", "budget", "rule", "scale", "centred")),
    "core": Method(core, ("of",)),
    "shared": Method(shared, ("r", "rank_pattern")), "frozen": Method(frozen, ("r", "rank_pattern")),
})

if __name__ == "__main__":
    given = sys.argv[1:2] if sys.argv[1:] and sys.argv[1].endswith(".yaml") else []
    sys.exit(main(["compare", *(given or ["bench/ideas.yaml"]), *sys.argv[1 + len(given):]]))
