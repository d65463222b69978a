#include "ops/cuda/attention/meta_attention.h"

#include <span>
#include <vector>

#include "ops/attention/expectations.h"
#include "ops/backend.h"
#include "ops/cuda/attention/kernel_choice.h"
#include "ops/cuda/attention/library_memory.h"
#include "ops/cuda/attention/library_sequences.h"
#include "ops/cuda/attention/tile_lists.h"
#include "ops/cuda/attention/topk_work.h"
#include "ops/cuda/attention/xattention_work.h"

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

// dk and dv of the tiles that were cut into parts: KeyPiece of key_parts.h.
int64_t add_pieces(const KeyList& keys, int tile_keys, int64_t width, MetaDevice& meta) {
  const int64_t bytes = 2 * tile_keys * width * int64_t(sizeof(float));
  const Tensor pieces = Tensor::empty({keys.pieces * bytes}, DType::u8, meta);
  return keys.pieces > 0 ? 1 : 0;
}

int64_t one_if(bool condition) { return condition ? 1 : 0; }

// The kernels that the expected GPU takes.
AttentionKernels kernels_of(KernelQuestion question, MetaDevice& meta) {
  question.allowed =
      std::min(question.allowed, meta.attached<AttentionExpectations>().means.kernels);
  return choose_kernels(question, {.capability = 90, .hopper_code = true});
}

int64_t own_forward(const AttentionForwardArgs& args, DType dtype, MetaDevice& meta) {
  const auto kernels =
      kernels_of(kernel_question(dtype, args, {args.q, args.k, args.v}, /*gradients=*/false), meta);
  const bool hopper = kernels == AttentionKernels::hopper;
  const TileSize size = hopper ? TileSize{kHopperRows, kHopperKeys} : TileSize{kRows, kKeys};
  const List list = query_list(args, size, meta);
  return list.launches + one_if(list.count > 0);
}

int64_t own_gradients(const AttentionBackwardArgs& args, DType dtype, MetaDevice& meta) {
  const auto kernels = kernels_of(
      kernel_question(dtype, args, {args.q, args.k, args.v, args.d_out}, /*gradients=*/true), meta);
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
                               int64_t rows, MetaDevice& meta) {
  const int64_t visited = 1;
  if (!library || args.varlen.tokens() == 0) return visited + own_forward(args, dtype, meta);
  // Both branches: the library once, and the rows of closed pairs change places. Else the pairs'
  // lengths, and a call for each kv head.
  const bool both = args.other != nullptr;
  const LibrarySequences sequences(args.varlen, forward_tensors(args), rows, args.varlen.keys(),
                                   meta);
  if (both) {
    library_workspace(0, meta);
  } else {
    const LibraryMemory memory = library_memory(args, sequences.batch(), rows, 0, meta);
    for (int64_t h = 0; h < args.shape.kv_heads; ++h) {
      meta.copy_rows(nullptr, 0, nullptr, 0, sizeof(float), size_t(args.varlen.tokens()));
    }
  }
  return visited + (both ? 2 : 1 + args.shape.kv_heads) + own_forward(args, dtype, meta);
}

int64_t meta_attention_gradients(const AttentionBackwardArgs& args, DType dtype, bool library,
                                 MetaDevice& meta) {
  if (!library || args.varlen.tokens() == 0) return own_gradients(args, dtype, meta);
  const LibrarySequences sequences(args.varlen, gradient_tensors(args), args.varlen.tokens(),
                                   args.varlen.keys(), meta);
  {
    const LibraryMemory memory = library_gradient_memory(
        args, sequences.batch(),
        full_attention_workspace(library_gradient_shape(args, sequences.batch())), meta);
    const auto tokens = size_t(args.varlen.tokens()), keys = size_t(args.varlen.keys());
    const size_t key = size_t(args.shape.head_dim) * dtype_size(dtype);
    for (int64_t h = 0; h < args.shape.kv_heads; ++h) {
      meta.copy_rows(nullptr, 0, nullptr, 0, sizeof(float), tokens);
      meta.copy_rows(nullptr, 0, nullptr, 0, key * size_t(args.shape.group()), tokens);
      for (int i = 0; i < 2; ++i) meta.copy_rows(nullptr, 0, nullptr, 0, key, keys);
    }
  }
  return 1 + args.shape.kv_heads + own_gradients(args, dtype, meta);
}

int64_t meta_choose_blocks(const BlockChoiceArgs& all, const XAttentionRule& rule, DType dtype,
                           MetaDevice& meta) {
  const XAttentionArgs args(all, rule);
  const bool mma =
      mma_scores(dtype, args.shape.head_dim, args.groups_of_block(), aligned_rows({args.q, args.k}),
                 meta.attached<ForbiddenKernels>().families);
  const ChoiceWork work = choice_work(args, mma ? kMmaChoiceKernel : kPlainChoiceKernel);
  if (work.count == 0) return 0;
  const Tensor list = on_device(std::span<const RowTile>(work.tiles), meta);
  const int64_t blocks =
      std::min(work.count, meta.attached<AttentionExpectations>().means.multiprocessors);
  const Tensor scratch = Tensor::empty({blocks * work.scratch_bytes}, DType::u8, meta);
  return 1;
}

int64_t meta_choose_blocks(const BlockChoiceArgs& args, const TopkRule&, DType, MetaDevice& meta) {
  const TopkWork work = topk_work(args);
  if (work.rows == 0) return 0;
  const Tensor list = on_device(std::span<const TopkSequence>(work.sequences), meta);
  const Tensor means =
      Tensor::empty({args.shape.kv_heads, work.blocks, args.shape.head_dim}, DType::f32, meta);
  const Tensor scores = Tensor::empty({work.choosers, work.pitch}, DType::i32, meta);
  return 2;
}

}  // namespace elastron::ops::cuda
