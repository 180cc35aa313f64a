"""The eleven pieces as somebody else might have written them; read as text, as a learner's file is."""

OTHERS = {
    "schedule": """
def schedule(n_steps, first, last):
    ends = [math.log(a / (1 - a)) for a in (first, last)]
    beta, before = [], 1.0
    for i in range(n_steps):
        a = 1 / (1 + math.exp(-(ends[0] + (ends[1] - ends[0]) * i / (n_steps - 1))))
        beta.append(1 - a / before)
        before = a
    return torch.tensor(beta, dtype=torch.float64)
""",
    "q_sample": """
def q_sample(x0, t, eps, alpha_bar):
    a = alpha_bar[t].reshape([len(t)] + [1] * (x0.dim() - 1))
    return torch.sqrt(a) * x0 + torch.sqrt(1 - a) * eps
""",
    "posterior": """
def posterior(x0, xt, t, beta):
    from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
    schedule = NoiseSchedule.from_betas(beta).to(xt.dtype)
    return DenoiseDiffusion(nn.Identity(), schedule=schedule).q_posterior(x0, xt, t)
""",
    "simple_loss": """
def simple_loss(eps_model, x0, t, eps, alpha_bar):
    a = alpha_bar[t].reshape([len(t)] + [1] * (x0.dim() - 1))
    return F.mse_loss(eps_model(a ** 0.5 * x0 + (1 - a) ** 0.5 * eps, t), eps)
""",
    "TimeEmbedding": '''
class TimeEmbedding(nn.Module):
    """Frequencies in a buffer."""

    def __init__(self, n_channels):
        super().__init__()
        half = n_channels // 8
        self.register_buffer("w", torch.exp(-math.log(10_000) * torch.arange(half) / (half - 1)))
        self.a, self.b = nn.Linear(2 * half, n_channels), nn.Linear(n_channels, n_channels)

    def forward(self, t):
        angle = torch.outer(t.float(), self.w)
        return self.b(F.silu(self.a(torch.cat([torch.sin(angle), torch.cos(angle)], -1))))
''',
    "ResidualBlock": '''
class ResidualBlock(nn.Module):
    """The package's, wrapped."""

    def __init__(self, in_channels, out_channels, time_channels, n_groups):
        super().__init__()
        import ddpm_lesson.unet as package
        self.block = package.ResidualBlock(in_channels, out_channels, time_channels, n_groups=n_groups, dropout=0.0)
        self.block.conv2.weight.data.zero_()
        self.block.conv2.bias.data.zero_()

    def forward(self, x, t_emb):
        return self.block(x, t_emb)
''',
    "AttentionBlock": '''
class AttentionBlock(nn.Module):
    """PyTorch's own attention between the two layers."""

    def __init__(self, n_channels, n_heads, n_groups):
        super().__init__()
        self.heads = n_heads
        self.norm = nn.GroupNorm(n_groups, n_channels)
        self.projection = nn.Linear(n_channels, 3 * n_channels)
        self.output = nn.Linear(n_channels, n_channels)

    def forward(self, x):
        b, c, h, w = x.shape
        qkv = self.projection(self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c))
        q, k, v = qkv.view(b, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.output(seen).view(b, h, w, c).permute(0, 3, 1, 2)
''',
    "SmallUNet": '''
class SmallUNet(nn.Module):
    """Two blocks a level on the way down, and arguments by position."""

    def __init__(self, image_channels, n_channels, ch_mults):
        super().__init__()
        w = [n_channels * m for m in ch_mults]
        d = 4 * n_channels
        self.time = TimeEmbedding(d)
        self.first = nn.Conv2d(image_channels, w[0], 3, padding=1)
        self.down = nn.ModuleList(ResidualBlock(w[max(i - 1, 0)], w[i], d, n_groups=4) for i in range(len(w)))
        self.more = nn.ModuleList(ResidualBlock(c, c, d, n_groups=4) for c in w)
        self.smaller = nn.ModuleList(Downsample(c) for c in w[:-1])
        self.middle = AttentionBlock(w[-1], n_heads=2, n_groups=4)
        self.larger = nn.ModuleList(Upsample(c) for c in w[1:])
        self.up = nn.ModuleList(ResidualBlock(w[i + 1] + w[i], w[i], d, n_groups=4) for i in range(len(w) - 1))
        self.norm, self.last = nn.GroupNorm(4, w[0]), nn.Conv2d(w[0], image_channels, 3, padding=1)

    def forward(self, xt, t):
        e, h, pile = self.time(t), self.first(xt), []
        for i in range(len(self.down)):
            h = self.more[i](self.down[i](h, e), e)
            if i < len(self.smaller):
                pile.append(h)
                h = self.smaller[i](h)
        h = self.middle(h)
        for i in reversed(range(len(self.up))):
            h = self.up[i](torch.cat([self.larger[i](h), pile[i]], 1), e)
        return self.last(F.silu(self.norm(h)))
''',
    "fit": """
def fit(eps_model, images, alpha_bar, n_updates, state):
    optimizer = torch.optim.AdamW(eps_model.parameters(), weight_decay=0.0)
    average, done = copy.deepcopy(eps_model), 0
    if state is not None:
        average, done = copy.deepcopy(state["average"]), state["done"]
        eps_model.load_state_dict(state["weights"])
        optimizer.load_state_dict(copy.deepcopy(state["moments"]))
    for step in range(done, done + n_updates):
        optimizer.param_groups[0]["lr"] = 2e-3 * min((step + 1) / 100, 1.0)
        x0 = images[(torch.rand(32) * len(images)).long()]
        t = torch.randint(0, len(alpha_bar), (32,))
        eps = torch.randn(x0.shape)
        a = alpha_bar[t][:, None, None, None]
        loss = ((eps_model(a**0.5 * x0 + (1 - a) ** 0.5 * eps, t) - eps) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), eps_model.parameters()):
                slow.lerp_(fast, 1 - min(0.99, (1 + step) / (10 + step)))
    return {
        "average": average,
        "weights": copy.deepcopy(eps_model.state_dict()),
        "moments": copy.deepcopy(optimizer.state_dict()),
        "done": done + n_updates,
    }
""",
    "sample": """
def sample(eps_model, x, beta, times, eta, generator):
    bars = torch.cumprod(1 - beta, 0)
    times = [int(t) for t in times]
    for now, then in zip(times, [*times[1:], None]):
        a, b = bars[now], torch.tensor(1.0, dtype=beta.dtype) if then is None else bars[then]
        with torch.no_grad():
            eps = eps_model(x, torch.tensor([now] * len(x)))
        guess = (x - torch.sqrt(1 - a) * eps) / torch.sqrt(a)
        sigma = eta * torch.sqrt((1 - b) / (1 - a)) * torch.sqrt(1 - a / b)
        noise = torch.randn(x.size(), generator=generator, dtype=x.dtype)
        x = torch.sqrt(b) * guess + torch.sqrt(torch.clamp(1 - b - sigma**2, min=0)) * eps + sigma * noise
    return x
""",
    "evaluate": """
def evaluate(samples, real, floor_draws):
    def frechet(x, y):
        cx, cy = torch.cov(x.T), torch.cov(y.T)
        roots = torch.linalg.eigvals(cx.double() @ cy.double()).real.clamp(min=0).sqrt().sum()
        return ((x.mean(0) - y.mean(0)) ** 2).sum() + torch.trace(cx) + torch.trace(cy) - 2 * roots
    floors = []
    for _ in range(floor_draws):
        order = torch.randperm(len(real))
        floors.append(frechet(real[order[: len(samples)]], real[order[len(samples) :]]))
    return frechet(samples, real), torch.stack(floors)
""",
}
