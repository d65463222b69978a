// How the rows of a batch become the queries, keys and values of its attention, and how gradients
// come back: prompts that several responses attend to are computed once, and context-parallel ranks
// have a part of the rows each. Equal to computing everything on one rank, every response behind a
// prompt of its own.
//
// Whoever gathers keys takes the kv heads in groups: while attention runs on one, the keys and
// values of the next travel, and in the backward pass the gradients of the one before: all but the
// first group's rows come behind attention itself. Rows go by an index made once for a batch
// (model/row_index.h): at most 12 kernels and copies of any batch for begin(), forward() and
// own_rows() together, and for begin() and backward(), beside collectives and attention itself.
//
// T own rows, D documents, S sequences that attention sees; Hq q_heads and K kv_heads of this rank
// of the tensor group.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "data/context_shard.h"
#include "ops/routed_attention.h"
#include "parallel/communicator.h"

namespace elastron::model {

// Groups of kv heads that gathered attention takes one after the other: the largest number up to 4
// that divides the heads; one where nothing is gathered. More of them hide and save little more,
// and give each call too little to do.
int64_t kv_head_groups(int64_t kv_heads, int context_ranks);

// Attention of a layer, as its backward pass needs it.
struct Attended {
  std::vector<ops::RoutedAttentionOutput> groups;  // by group of heads; `visited` is below
  Tensor gates;    // of the sequences, as attention read them: group behind group
  Tensor visited;  // [S, kv heads of attention] int64: ops::RoutedAttentionOutput::visited
};

class AttentionExchange {
 public:
  virtual ~AttentionExchange() = default;

  // The sequences as attention sees them, the document of each, and the first of the kv heads that
  // this rank has attention for: all of them unless heads are exchanged.
  virtual ops::Varlen varlen() const = 0;
  virtual const std::vector<int32_t>& documents() const = 0;
  virtual int64_t first_kv_head(int64_t kv_heads) const = 0;

  struct Rows {
    Tensor rows;
    std::unique_ptr<parallel::Pending> pending;  // null: they are there
  };
  // What a layer's attention reads, on its way from other ranks. Must be given to forward() or
  // backward() of the same exchange.
  struct Begun {
    Rows q, keys;  // keys together with values, of the group that comes next
    Tensor k, v;   // those that are there
    Tensor own;    // this rank's keys and values for the groups that come later
  };
  // Keys and values [T, K, D] leave as soon as they are there, queries [T, Hq, D] after them.
  virtual Begun begin(const Tensor& k, const Tensor& v) const = 0;
  virtual void begin_queries(const Tensor& q, Begun& begun) const { begun.q = {q, {}}; }

  // Fills in what attention is beside its tensors, of each group right before it is computed.
  using Describe = std::function<void(ops::RoutedAttentionInput&)>;
  // gate [D, K]. `again`: the same `begun` is for backward() then; otherwise nothing is left of it.
  virtual Attended forward(Begun& begun, const Tensor& gate, const Describe& describe,
                           ops::Branches branches, bool again) const = 0;
  // The selected branches' output as own rows [T, Hq, D].
  virtual Tensor own_rows(const Attended& attended) const = 0;
  // d_out [T, Hq, D], own rows. Gradients of q, k and v as own rows and of the gates [D, K], this
  // rank's part of their sum over the context group, as far as they are asked for. What is moved in
  // is freed as early as it can be.
  virtual ops::RoutedAttentionGradient backward(Tensor d_out, Begun begun, const Tensor& gate,
                                                const Describe& describe, Attended attended,
                                                bool need_qkv, bool need_gate) const = 0;
};

// The tensors are on `device`.
// All rows are here. The batch must outlive it.
std::unique_ptr<AttentionExchange> local_attention(const data::PackedBatch& batch, Device& device);

// Ranks of `context` have the rows that the plan gives them. `batch` is the whole one; all must
// outlive it.
// Keys and values are gathered: every rank has all heads, so that the work of a rank does not
// depend on what the gates say (docs/parallelism.md).
std::unique_ptr<AttentionExchange> gathered_attention(const data::PackedBatch& batch,
                                                      const data::ContextPlan& plan,
                                                      parallel::Communicator& context,
                                                      Device& device);
// DeepSpeed-Ulysses: heads are exchanged for rows, so that every rank has all rows of some heads.
// The group must divide the kv heads.
std::unique_ptr<AttentionExchange> exchanged_heads(const data::PackedBatch& batch,
                                                   const data::ContextPlan& plan,
                                                   parallel::Communicator& context, Device& device);

}  // namespace elastron::model
