"""What Triton's compiler makes of the fused kernels for a generation of GPUs; no GPU is needed.

    python bench/compiled.py '[["forward", [64, 64, 64, 64], 2, "bfloat16", 90]]'   # kernel, shape, terms, dtype, capability
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
import torch
from soka.method import kernels

class Compiled(NamedTuple):
    "A kernel compiled for one GPU generation."
    shared:int     # bytes of shared memory per program
    registers:int  # per thread; 255 is the most
    stack:int      # bytes per thread that did not fit the registers
    tensor:str     # matrix instruction: "wgmma", "mma" or "" (ordinary multiply-adds)

KERNELS = {"forward": kernels._forward_kernel, "input_grad": kernels._forward_kernel, "factor_grads": kernels._factor_kernel}

def signature(kernel, U, V, dtype):
    "Types, constants and alignment of a kernel's arguments, as a launch would find them."
    forward = kernel != "factor_grads"
    if kernel == "input_grad": U, V = U.mT, V.mT
    U, V, numbers, tile = kernels._arguments(U, V)
    names, options = KERNELS[kernel].arg_names, kernels._options(tile, forward, len(U))
    ints = dict(zip(names[names.index("m1"):], numbers))
    constants = {k: v for k, v in options.items() if k in names} | {k: 1 for k, v in ints.items() if v == 1}
    if forward: constants["BASE"] = True
    def kind(n):
        if n in constants: return "constexpr"
        if n in ints or n in ("T", "r"): return "i32"
        return "*fp32" if n in ("gU", "gV") else {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32"}[dtype]
    types = {n: kind(n) for n in names}
    def is_aligned(n): return types[n][0] == "*" or types[n] == "i32" and ints.get(n, 1) % 16 == 0
    return types, constants, {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if is_aligned(n)}, options

def resources(cubin):
    "Registers and stack bytes per thread, as NVIDIA's tool reads them off the machine code."
    import triton
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/"kernel.cubin"
        f.write_bytes(cubin)
        text = subprocess.run([triton.knobs.nvidia.cuobjdump.path, "-res-usage", f], capture_output=True, text=True, check=True).stdout
    return [int(text.split(name + ":")[1].split()[0]) for name in ("REG", "STACK")]

def compiled(
    kernel,                # "forward", "input_grad" or "factor_grads"
    shape,                 # (m1, n1, m2, n2)
    r=2,                   # terms to apply
    dtype=torch.bfloat16,  # of input and factors
    capability=90,         # 80 for an A100, 90 for an H100
):
    "What `kernel` takes on a GPU of that generation."
    if kernel not in KERNELS: raise ValueError(f"kernel must be one of {', '.join(map(repr, KERNELS))}, got {kernel!r}")
    if not kernels.HAS_TRITON or kernels.INTERPRETED:
        raise NotImplementedError(f"compiling needs Triton without TRITON_INTERPRET, got HAS_TRITON={kernels.HAS_TRITON}")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    U, V = torch.empty(r, *shape[:2], device="meta"), torch.empty(r, *shape[2:], device="meta")
    types, constants, aligned, o = signature(kernel, U, V, dtype)
    source = ASTSource(fn=KERNELS[kernel], signature=types, constexprs=constants, attrs=aligned)
    out = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={k: o[k] for k in ("num_warps", "num_stages")})
    ptx = out.asm["ptx"]
    tensor = next((i for i in ("wgmma", "mma") if f"{i}.mma_async" in ptx or f"{i}.sync" in ptx), "")
    return Compiled(out.metadata.shared, *resources(out.asm["cubin"]), tensor)

def main():
    for kernel, shape, r, dtype, capability in json.loads(sys.argv[1]):
        print(json.dumps(compiled(kernel, shape, r, getattr(torch, dtype), capability)))

if __name__ == "__main__": main()
