"""The tensors of published networks, by rule: names and shapes, written without our classes."""

Shapes = dict[str, tuple[int, ...]]


def conv(name: str, c_in: int, c_out: int, side: int, *, bias: bool, groups: int = 1) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (c_out, c_in // groups, side, side)}
    return shapes | ({f"{name}.bias": (c_out,)} if bias else {})


def norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def nafnet(planes: int, width: int, encoder: list[int], middle: int, decoder: list[int]) -> Shapes:
    def block(name: str, c: int) -> Shapes:
        return {
            f"{name}.beta": (1, c, 1, 1),
            f"{name}.gamma": (1, c, 1, 1),
            **norm(f"{name}.norm1", c),
            **norm(f"{name}.norm2", c),
            **conv(f"{name}.conv1", c, 2 * c, 1, bias=True),
            **conv(f"{name}.dwconv2", 2 * c, 2 * c, 3, bias=True, groups=2 * c),
            **conv(f"{name}.sca.1", c, c, 1, bias=True),
            **conv(f"{name}.conv3", c, c, 1, bias=True),
            **conv(f"{name}.conv4", c, 2 * c, 1, bias=True),
            **conv(f"{name}.conv5", c, c, 1, bias=True),
        }

    shapes = conv("intro", planes, width, 3, bias=True)
    shapes |= conv("ending", width, planes, 3, bias=True)
    levels = len(encoder)
    for level, count in enumerate(encoder):
        for number in range(count):
            shapes |= block(f"encoders.{level}.{number}", width * 2**level)
        here = width * 2**level
        shapes |= conv(f"downs.{level}.downconv", here, 2 * here, 2, bias=True)
    for number in range(middle):
        shapes |= block(f"middle_blks.{number}", width * 2**levels)
    for level, count in enumerate(decoder):
        below = width * 2 ** (levels - level)
        shapes |= conv(f"ups.{level}.upconv", below, 2 * below, 1, bias=False)
        for number in range(count):
            shapes |= block(f"decoders.{level}.{number}", below // 2)
    return shapes


def restormer(planes: int, dim: int, blocks: list[int], refinement: int) -> Shapes:
    def level(name: str, c: int, heads: int, count: int) -> Shapes:
        hidden, shapes = int(2.66 * c), {}
        for n in range(count):
            part = f"{name}.{n}"
            shapes |= {
                f"{part}.attn.temperature": (heads, 1, 1),
                **norm(f"{part}.norm1.body", c),
                **norm(f"{part}.norm2.body", c),
                **conv(f"{part}.attn.qkv", c, 3 * c, 1, bias=False),
                **conv(f"{part}.attn.qkv_dwconv", 3 * c, 3 * c, 3, bias=False, groups=3 * c),
                **conv(f"{part}.attn.project_out", c, c, 1, bias=False),
                **conv(f"{part}.ffn.project_in", c, 2 * hidden, 1, bias=False),
                **conv(f"{part}.ffn.dwconv", 2 * hidden, 2 * hidden, 3, bias=False,
                       groups=2 * hidden),
                **conv(f"{part}.ffn.project_out", hidden, c, 1, bias=False),
            }  # fmt: skip
        return shapes

    shapes = conv("patch_embed.proj", planes, dim, 3, bias=False)
    for n, count in enumerate(blocks[:3], start=1):
        c, heads = dim * 2 ** (n - 1), 2 ** (n - 1)
        shapes |= level(f"encoder_level{n}", c, heads, count)
        shapes |= conv(f"down{n}_{n + 1}.body.0", c, c // 2, 3, bias=False)
        shapes |= conv(f"up{n + 1}_{n}.body.0", 2 * c, 4 * c, 3, bias=False)
        # No reduction at the top: twice the channels from there on.
        shapes |= level(f"decoder_level{n}", 2 * c if n == 1 else c, heads, count)
        if n > 1:
            shapes |= conv(f"reduce_chan_level{n}", 2 * c, c, 1, bias=False)
    shapes |= level("latent", 8 * dim, 8, blocks[3])
    shapes |= level("refinement", 2 * dim, 1, refinement)
    return shapes | conv("output", 2 * dim, planes, 3, bias=False)


def repnr(plain: Shapes, left_alone: tuple[str, ...], sets: tuple[str, ...], omnr: bool) -> Shapes:
    """Return the tensors after RepNR took the convolutions that no name of `left_alone` is in."""
    shapes: Shapes = {}
    kernels = {n.removesuffix(".weight") for n, shape in plain.items() if len(shape) == 4}
    kernels = {n for n in kernels if f"{n}.weight" in plain}  # factors are no kernels
    taken = {n for n in kernels if not any(part in n for part in left_alone)}
    for name, shape in plain.items():
        layer = name.rpartition(".")[0]
        if layer not in taken:
            shapes[name] = shape
        elif name.endswith(".weight"):
            both = ("main", "aux") if omnr else ("main",)
            for part in both:
                shapes[f"{layer}.{part}_weight"] = shape
                shapes[f"{layer}.{part}_bias"] = shape[:1]
            for csa in sets:
                shapes[f"{layer}.align_weights.{csa}"] = (1, shape[1], 1, 1)
                shapes[f"{layer}.align_biases.{csa}"] = (1, shape[1], 1, 1)
    return shapes
