"""The published implementation's parameters for routing, as a PyTorch module: the same classes of
layers under the same names. Written from the paper and a description of its checkpoints; the
published source itself was not at hand."""
import torch
from torch import nn


class MaskAllocator(nn.Module):
    """Elastic Attention's."""

    def __init__(self, head_dim, hidden_mult, classes, task_embedding):
        super().__init__()
        d, h = head_dim, head_dim * hidden_mult
        self.cls_feat_extractor = nn.Sequential(nn.Linear(d, h), nn.SiLU(), nn.Linear(h, d))
        self.cls_router_head_agnostic = nn.Sequential(
            nn.Linear(d, h), nn.SiLU(), nn.Linear(h, d), nn.SiLU(), nn.Linear(d, classes))
        self.register_buffer("log_temp", torch.tensor(0.0))
        if task_embedding:
            self.task_embedding = nn.Embedding(4, d)  # in training only

    def forward(self, keys, budget=100):
        """keys [tokens, kv_heads, head_dim] -> logits [kv_heads, classes], gates [kv_heads]"""
        pooled = torch.cat([keys[:budget], keys[-budget:]]).mean(0)
        logits = self.cls_router_head_agnostic(self.cls_feat_extractor(pooled))
        full = logits[:, 1] > logits[:, 0] if logits.shape[1] == 2 else logits[:, 0] > 0
        return logits, full


class LayerAllocator(nn.Module):
    """Flux Attention's: a decision for the layer, from its queries."""

    def __init__(self, head_dim, pool_size):
        super().__init__()
        d, self.pool_size = head_dim, pool_size
        self.cls_feat_extractor = nn.Sequential(
            nn.Linear(d, 8 * d), nn.SiLU(), nn.Linear(8 * d, 2 * d))
        self.cls_router_head_agnostic = nn.Sequential(
            nn.Linear(2 * d, 4 * d), nn.SiLU(), nn.Linear(4 * d, d), nn.SiLU(), nn.Linear(d, 2))
        self.register_buffer("log_temp", torch.tensor(0.0))

    def forward(self, queries):
        """queries [tokens, q_heads, head_dim] -> logits [1, 2], gates [1]"""
        ends = torch.cat([queries[:self.pool_size], queries[-self.pool_size:]])
        pooled = ends.mean(0).mean(0, keepdim=True)
        logits = self.cls_router_head_agnostic(self.cls_feat_extractor(pooled))
        return logits, logits[:, 1] > logits[:, 0]


class Attention(nn.Module):
    def __init__(self, kv_heads, pool_size=None, **router):
        super().__init__()
        self.mask_allocator = (MaskAllocator(**router) if pool_size is None else
                               LayerAllocator(router["head_dim"], pool_size))
        self.attn_mask_log_alphas = nn.Parameter(torch.full((kv_heads,), 4.0))


class Layer(nn.Module):
    def __init__(self, **attention):
        super().__init__()
        self.self_attn = Attention(**attention)


class Model(nn.Module):
    def __init__(self, layers, **attention):
        super().__init__()
        self.layers = nn.ModuleList(Layer(**attention) for _ in range(layers))
        self.sparsity_lambda_1 = nn.Parameter(torch.zeros(1))
        self.sparsity_lambda_2 = nn.Parameter(torch.zeros(1))
        self.sparsity_lambda1_task = nn.Parameter(torch.rand(5) * 0.5)
        self.sparsity_lambda2_task = nn.Parameter(torch.rand(5) * 0.5)


class PawForCausalLM(nn.Module):
    """Without the backbone."""

    def __init__(self, layers, kv_heads, head_dim, hidden_mult=4, classes=2, task_embedding=False,
                 pool_size=None):
        super().__init__()
        self.model = Model(layers, kv_heads=kv_heads, head_dim=head_dim, hidden_mult=hidden_mult,
                           classes=classes, task_embedding=task_embedding, pool_size=pool_size)

    def randomize(self, std=0.3):
        for layer in self.model.layers:
            for p in layer.self_attn.mask_allocator.parameters():
                nn.init.normal_(p, std=std)
        return self

    def route(self, keys):
        """keys: per layer -> logits and gates, per layer"""
        with torch.no_grad():
            return [layer.self_attn.mask_allocator(k) for layer, k in zip(self.model.layers, keys)]


def config(classes=2, **more):
    """The keys of a published config.json."""
    return {"architectures": ["PawQwen3ForCausalLM"], "toggle_type": "streaming",
            "retrieval_mode": "full", "sink_size": 128, "local_window_size": 2048,
            "pooling_mode": "ctx_q", "use_softmax": classes == 2, "enable_ada_sparsity": True,
            "enable_lambda_task": True} | more
