"""Test files of PEFT that name LoRA or LoKr in their bodies, said for SoKA: tests/test_soka_*.py, written anew from PEFT's own at each run.

A rule is (file, classes and functions to keep or None for all, replacements, names that become AsSoKA).
"""

import ast, re, sys
from pathlib import Path

NAMES = [
    (r"lora_A\b(\[\"\w+\"\]|\.\w+)?\.weight", r"soka_terms\1.U"),
    (r"lora_B\b(\[\"\w+\"\]|\.\w+)?\.weight", r"soka_terms\1.V"),
    (r'"lora_" in', '"soka_" in'),
    (r'lokr_w1\.(\w+)"', r'soka_terms.\1.U"'),
    (r'lokr_w2\.(\w+)"', r'soka_terms.\1.V"'),
    (r"lora_[AB]\b|lokr_w[12]\b", "soka_terms"),
    (r'"LoraModel"', '"SoKAModel"'),
    (r"from peft\.tuners\.lora(\.layer)? import LoraLayer", "from soka.peft import SoKALayer as LoraLayer"),
    (r'"lora" in key', '"soka" in key'),
    (r'"LORA"', '"SOKA"'),
    (r"PeftType\.LORA\b", "PeftType.SOKA"),
    (r'"lora\.Linear"', '"soka.SoKAPeftLinear"'),
]
LORA, LOKR, BOTH = ("LoraConfig",), ("LoKrConfig",), ("LoraConfig", "LoKrConfig")
RULES = [
    (
        "test_lora_conversion",
        ["TestLoraConversion"],
        [(r'"\.lokr" in', '".soka" in'), (r'rsplit\("\.", 2\)\[0\] for k in lokr', 'rsplit(".", 3)[0] for k in lokr')],
        LOKR,
        "lora_conversion",
        (8, 8),
    ),
    ("test_mixed", None, [], LOKR),
    (
        "test_custom_models",
        [
            "TestRequiresGrad:test_requires_grad_lokr_different_targets",
            "TestRequiresGrad:test_requires_grad_lokr_same_targets",
            "TestRequiresGrad:test_requires_grad_modules_to_save_default",
            "TestRequiresGrad:test_requires_grad_modules_to_save_multiple",
            "TestRequiresGrad:test_requires_grad_lora_different_targets",
            "TestRequiresGrad:test_requires_grad_lora_same_targets",
            "TestRequiresGrad:test_loading_adapter_preserves_custom_requires_grad",
            "TestDefaultTargetModules",
            "TestLayerRepr",
            "TestPeftCustomModel:test_add_adapter_rejects_duplicate_name_without_mutation",
            "TestPeftCustomModel:test_delete_adapter_with_multiple_adapters_works",
            "TestPeftCustomModel:test_delete_adapter_multiple_adapters_with_modules_to_save",
            "TestPeftCustomModel:test_weight_bias_attributes",
            "TestPeftCustomModel:test_multiple_adapters_automatic_modules_to_save",
            "TestPeftCustomModel:test_set_requires_grad",
            "TestPeftCustomModel:test_load_resized_embedding_ignore_mismatched_sizes",
        ],
        [(r"DeloraConfig, LoraConfig", "LoraConfig")],
        BOTH,
    ),
    (
        "test_low_level_api",
        None,
        [
            (r"LoraConfig: \"lora_\", LoKrConfig: \"lokr_\"", 'LoraConfig: "soka_"'),
            (r"\[LoraConfig, LoKrConfig\]", "[LoraConfig]"),
            (r"lora_foo|foo_lora", lambda m: m[0].replace("lora", "soka")),
            (r"lora_head", "soka_head"),
        ],
        LORA,
    ),
    (
        "test_tuners_utils",
        [
            f"Test{n}"
            for n in (
                "PeftCustomKwargs",
                "TargetedModuleNames",
                "ExcludedModuleNames",
                "ModelAndLayerStatus",
                "BaseTunerWarnForTiedEmbeddings",
                "FindMinimalTargetModules",
                "TunerStateDictKeyPrefixes",
            )
        ],
        [(r"(isinstance\(proj\.soka_terms.*), nn\.Linear\)", r"\1, nn.Module)")],
        LORA,
    ),
    (
        "test_tuners_utils",
        ["TestRankAndAlphaPattern"],
        [(r"nn\.Linear\(1, 1\)", "nn.Linear(32, 32)"), (r'\.r\["default"\]', '.soka_terms["default"].r')],
        LORA,
        "rank_pattern",
        (32, 8),
    ),
    ("test_other", None, [], LORA),
    ("test_mapping", None, [], LORA),
    ("test_helpers", ["TestDisableInputDtypeCasting"], [], LORA),
    (
        "test_config",
        [
            "TestPeftConfig:test_regex_with_layer_indexing_lora",
            "TestPeftConfig:test_lora_config_layers_to_transform_validation",
            "TestPeftConfig:test_from_peft_type",
        ],
        [],
        LORA,
    ),
    (
        "test_decoder_models",
        ["TestDecoderModels:test_merge_and_unload_fixes_tie_word_embeddings_config"],
        [(r'target_modules=\["embed_tokens"\]', 'target_modules=["lm_head"]')],
        LORA,
    ),
    (
        "test_encoder_decoder_models",
        ["TestEncoderDecoderModels:test_save_shared_tensors", "TestEncoderDecoderModels:test_load_model_low_cpu_mem_usage"],
        [],
        LORA,
    ),
    ("test_feature_extraction_models", ["TestPeftFeatureExtractionModel:test_load_model_low_cpu_mem_usage"], [], LORA),
    (
        "test_initialization",
        [
            "TestCustomModelConfigWarning",
            "TestLowCpuMemUsage",
            "TestNamingConflictWarning",
            "TestNoInfiniteRecursionDeepspeed",
            "TestWeightTying:test_weight_tying_tied_model_lokr",
            "TestWeightTying:test_weight_tying_tied_model_target_modules_lokr",
            "TestLoadPeftKeyMapping",
            "TestLoraInitialization:test_modules_to_save_targets_lora_layer_raises",
            "TestLoraInitialization:test_unmatched_rank_pattern_key_warns",
            "TestLoraInitialization:test_matched_pattern_keys_do_not_warn",
            "TestLoraInitialization:test_multiple_configs_with_bias_raises",
            "TestLoraInitialization:test_misconfigured_second_adapter_warns_on_add_adapter",
            "TestLoraInitialization:test_lora_incompatible_mamba_modules",
        ],
        [
            (r"alpha_pattern=\{\"typo_key\": 100\}", 'rank_pattern={"typo_key": 2}'),
            (r"alpha_pattern\.\*did", "rank_pattern.*did"),
            (r"from peft\.tuners\.lokr\.layer import LoKrLayer", "from soka.peft import SoKALayer as LoKrLayer"),
            (r"peft\.tuners\.lora\.layer\.Linear", "soka.adapter.layer.SoKAPeftLinear"),
        ],
        BOTH,
    ),
]

# LoRA's own: what its alpha, its count of parameters or its modules are
OWN = re.compile(
    r"alpha_pattern|test_nb_params|test_repr_lora_(embedding|conv2d|paramwrapper)|target_parameters|targeted_parameters|_ia3|_loha|"
    r"vera|diffusion|stable_diffusion|test_model_status_with_modules|status_with_trainable|trainable_tokens|shared_state_tuners|"
    r"prefix_tuning|adaption_prompt|vblora|test_set_requires_grad|unsharded_state_dict|prefixes_select_correct"
)


def derive(tests, base):
    for file, keep, subs, alias, name, (cap, r) in ((*rule, *(rule[0][5:], (1, 1))[len(rule) - 4 :]) for rule in RULES):
        src = (tests / f"{file}.py").read_text()
        for a, b in [] if base else [*(NAMES if file != "test_lora_conversion" else []), *subs]:
            src = re.sub(a, b, src, flags=re.M)
        tree, lines = ast.parse(src), src.splitlines()
        last = max(n.end_lineno for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom)))
        if not base:
            lines[last - 1] += f"\nimport cases\nclass AsSoKA(cases.AsSoKA): CAP, R = {cap}, {r}\n" + "\n".join(
                f"{n} = AsSoKA" for n in alias
            )
        drop = []
        for n in tree.body:
            test = isinstance(n, ast.ClassDef) and n.name.startswith("Test") or isinstance(n, ast.FunctionDef) and n.name.startswith("test")
            if not test:
                continue
            some = {k.split(":")[1] for k in keep or () if k.startswith(n.name + ":")}
            whole = keep is None or n.name in keep
            own = lambda m: (
                isinstance(m, ast.FunctionDef) and m.name.startswith("test") and (OWN.search(m.name) or not (whole or m.name in some))
            )
            nodes = (
                [n]
                if not whole and not some or isinstance(n, ast.FunctionDef) and own(n)
                else [m for m in getattr(n, "body", ()) if own(m)]
            )
            if nodes and len(nodes) == len(
                [m for m in getattr(n, "body", ()) if isinstance(m, ast.FunctionDef) and m.name.startswith("test")]
            ):
                nodes = [n]
            drop += [(min([m.lineno, *(d.lineno for d in m.decorator_list)]), m.end_lineno) for m in nodes]
        for a, b in sorted(drop, reverse=True):
            lines[a - 1 : b] = []
        (tests / f"test_{'base' if base else 'soka'}_{name}.py").write_text("# written by derive.py\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    for base in (False, True):
        derive(Path(sys.argv[1]), base)
