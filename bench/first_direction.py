"""What is the leading direction of the first gradient, and which shape of term holds most of it?

    python bench/first_direction.py

One batch of GSM8K text through each base. Writes nbs/records/first-direction.json: by base, for every linear layer, the cosine between the
gradient's leading right singular vector and the mean input, the share of that direction's feature that is constant, the share of the gradient's
energy in it, and what four terms hold of the gradient and of the weight at four shapes.
"""
import torch

import common
from feature_size import BASES, cell_of
from soka.compare.methods import all_linear
from soka.method.kpsvd import kpsvd

SHAPES = (1, 2, 4, 8)

def tokens_of(model, batch):
    "By layer: inputs and gradients of the outputs, a row for each token that counts."
    counts, found, handles = batch["attention_mask"].flatten().bool(), {}, []
    def forward(n): return lambda layer, args, y: found.setdefault(n, {}).update(x=args[0].detach().flatten(0, -2)[counts])
    def backward(n): return lambda layer, grad_in, grad_out: found[n].update(d=grad_out[0].flatten(0, -2)[counts])
    for n in all_linear(model):
        layer = model.get_submodule(n)
        handles += [layer.register_forward_hook(forward(n)), layer.register_full_backward_hook(backward(n))]
    model.train()(**batch).loss.backward()
    for h in handles: h.remove()
    return found

def held(M, r=4):
    "Share of a matrix's energy in its leading terms, by shape."
    m, n = M.shape
    return [round(kpsvd(M, (m//s, s, s, n//s), r).energy, 4) for s in SHAPES]

def figures(layer, x, d):
    "What the leading direction of one layer's gradient is."
    x, G = x.float(), d.float().T @ x.float()
    k = kpsvd(G, (len(G), 1, 1, G.shape[1]), 1)
    v, mean = k.V.flatten(), x.mean(0)
    feature = x @ v
    return dict(cosine=round(float((v @ mean).abs()/mean.norm()), 4), constant=round(float(feature.mean()**2/feature.square().mean()), 4),
                energy=round(k.energy, 4), gradient=held(G), weight=held(layer.weight.detach().float()))

def layers_of(path, dtype):
    "The figures of one base."
    cell = cell_of(path, dtype)
    model = cell.model()
    model.requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_()    # so that gradients reach every layer
    return {n: figures(model.get_submodule(n), **t) for n, t in tokens_of(model, cell.batches(0, 1)[0]).items()}

if __name__ == "__main__":
    torch.set_num_threads(1)
    common.write("first-direction", {"shapes": SHAPES, "bases": {b: layers_of(*where) for b, where in BASES.items()}})
