#include "ops/cuda/meta_attention.h"

#include <span>
#include <vector>

#include "ops/attention/expectations.h"
#include "ops/backend.h"
#include "ops/cuda/library_attention.h"
#include "ops/cuda/routed_attention_hopper.h"
#include "ops/cuda/routed_attention_mma.h"
#include "ops/cuda/tile_lists.h"
#include "ops/cuda/xattention_scratch.h"

namespace elastron::ops::cuda {

namespace {

constexpr int kRows = int(kTileRows), kKeys = int(kTileKeys);

Tensor ints(int64_t count, MetaDevice& meta) { return Tensor::empty({count}, DType::i32, meta); }

struct List {
  Tensor memory;
  int64_t count = 0, launches = 0;
};

// sorted() of tile_schedule.cu: costs, places and tiles, the middle one in one block always.
List sorted_list(const std::vector<int32_t>& starts, int64_t columns, MetaDevice& meta) {
  const ListMemory sizes(starts.back() * columns);
  const Tensor there = on_device(std::span<const int32_t>(starts), meta);
  List list{.memory = ints(sizes.list_numbers(), meta),
            .count = sizes.count,
            .launches = sizes.count > 0 ? 3 : 1};
  const Tensor costs = ints(sizes.cost_numbers(), meta), levels = ints(sizes.level_numbers(), meta);
  return list;
}

List query_list(const AttentionArgs& args, TileSize size, MetaDevice& meta) {
  return sorted_list(query_tile_starts(args, size), query_tile_columns(args), meta);
}

struct KeyList {
  Tensor pieces_there;
  List list;
  int64_t pieces = 0;  // of all kv heads
};

KeyList key_list(const AttentionArgs& args, TileSize size, bool cut, MetaDevice& meta) {
  const KeyTileLists lists = key_tile_lists(args, size, cut);
  KeyList out{.pieces_there = on_device(std::span<const int32_t>(lists.pieces), meta),
              .list = {},
              .pieces = int64_t(lists.pieces.back()) * args.shape.kv_heads};
  out.list = sorted_list(lists.starts, args.shape.kv_heads, meta);
  return out;
}

// dk and dv of the tiles that were cut into parts: KeyPiece of attention_key_parts.h.
int64_t add_pieces(const KeyList& keys, int tile_keys, int64_t width, MetaDevice& meta) {
  const int64_t bytes = 2 * tile_keys * width * int64_t(sizeof(float));
  const Tensor pieces = Tensor::empty({keys.pieces * bytes}, DType::u8, meta);
  return keys.pieces > 0 ? 1 : 0;
}

int64_t one_if(bool condition) { return condition ? 1 : 0; }

// The kernels that forward and backward take on the expected GPU.
AttentionKernels kernels_of(const AttentionArgs& args, bool hopper, bool mma, MetaDevice& meta) {
  const AttentionKernels fastest =
      std::min(args.kernels, meta.attached<AttentionExpectations>().kernels);
  if (fastest >= AttentionKernels::hopper && hopper) return AttentionKernels::hopper;
  return fastest >= AttentionKernels::mma && mma ? AttentionKernels::mma : AttentionKernels::plain;
}

int64_t own_forward(const AttentionForwardArgs& args, DType dtype, MetaDevice& meta) {
  const auto kernels =
      kernels_of(args, hopper_takes(dtype, args, {args.q, args.k, args.v}),
                 tensor_cores_take(dtype, args.shape, {args.q, args.k, args.v}), meta);
  const bool hopper = kernels == AttentionKernels::hopper;
  const TileSize size = hopper ? TileSize{kHopperRows, kHopperKeys} : TileSize{kRows, kKeys};
  const List list = query_list(args, size, meta);
  return list.launches + one_if(list.count > 0);
}

int64_t own_gradients(const AttentionBackwardArgs& args, DType dtype, MetaDevice& meta) {
  const auto kernels =
      kernels_of(args, hopper_takes_gradients(dtype, args),
                 tensor_cores_take(dtype, args.shape, {args.q, args.k, args.v, args.d_out}), meta);
  const bool hopper = kernels == AttentionKernels::hopper;
  const List queries = query_list(
      args, hopper ? TileSize{kHopperRows, kHopperGradientKeys} : TileSize{kRows, kKeys}, meta);
  const KeyList keys =
      key_list(args, hopper ? TileSize{kHopperGradientRows, kHopperKeys} : TileSize{kRows, kKeys},
               kernels != AttentionKernels::plain, meta);
  const int64_t launches = queries.launches + keys.list.launches + one_if(queries.count > 0) +
                           one_if(keys.list.count > 0);
  if (kernels == AttentionKernels::plain || keys.list.count == 0) return launches;
  const int64_t width = hopper ? args.shape.head_dim : padded_width(args.shape.head_dim);
  return launches + add_pieces(keys, hopper ? kHopperKeys : kKeys, width, meta);
}

}  // namespace

int64_t meta_attention_forward(const AttentionForwardArgs& args, DType dtype, bool library,
                               MetaDevice& meta) {
  const int64_t visited = 1;
  const auto& bytes = meta.attached<AttentionExpectations>().library;
  if (!library || !bytes) return visited + own_forward(args, dtype, meta);
  // Both branches: the library once, and the rows of closed pairs change places. Else the pairs'
  // lengths, and a call for each kv head.
  const bool both = args.other != nullptr;
  {
    const Tensor workspace = Tensor::empty({bytes->forward}, DType::u8, meta);
    for (int64_t h = 0; !both && h < args.shape.kv_heads; ++h) {
      meta.copy_rows(nullptr, 0, nullptr, 0, sizeof(float), size_t(args.varlen.tokens()));
    }
  }
  return visited + (both ? 2 : 1 + args.shape.kv_heads) + own_forward(args, dtype, meta);
}

int64_t meta_attention_gradients(const AttentionBackwardArgs& args, DType dtype, bool library,
                                 MetaDevice& meta) {
  const auto& bytes = meta.attached<AttentionExpectations>().library;
  if (!library || !bytes) return own_gradients(args, dtype, meta);
  {
    const Tensor workspace = Tensor::empty({bytes->backward}, DType::u8, meta);
    const size_t rows = size_t(args.varlen.tokens()), item = dtype_size(dtype);
    const size_t key = size_t(args.shape.head_dim) * item;
    const size_t query = key * size_t(args.shape.group());
    for (int64_t h = 0; h < args.shape.kv_heads; ++h) {
      meta.copy_rows(nullptr, 0, nullptr, 0, sizeof(float), rows);
      for (const size_t row : {query, key, key}) meta.copy_rows(nullptr, 0, nullptr, 0, row, rows);
    }
  }
  return 1 + args.shape.kv_heads + own_gradients(args, dtype, meta);
}

int64_t meta_choose_blocks(const BlockChoiceArgs& args, DType dtype, MetaDevice& meta) {
  const ChoiceKernel kernel =
      tensor_cores_score(dtype, args) ? kMmaChoiceKernel : kPlainChoiceKernel;
  const ChoiceWork work = choice_work(args, kernel);
  if (work.count == 0) return 0;
  const Tensor list = on_device(std::span<const RowTile>(work.tiles), meta);
  const int64_t blocks =
      std::min(work.count, meta.attached<AttentionExpectations>().multiprocessors);
  const Tensor scratch = Tensor::empty({blocks * work.scratch_bytes}, DType::u8, meta);
  return 1;
}

}  // namespace elastron::ops::cuda
