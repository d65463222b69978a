// How the rows of a batch become the queries, keys and values of its attention, and how gradients
// come back: prompts that several responses attend to are computed once, and context-parallel ranks
// have a part of the rows each. Equal to computing everything on one rank, every response behind a
// prompt of its own.
//
// T own rows, D documents, S sequences that attention sees; Hq q_heads and K kv_heads of this rank
// of the tensor group.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "data/context_shard.h"
#include "ops/routed_attention.h"
#include "parallel/communicator.h"

namespace elastron::model {

class AttentionExchange {
 public:
  virtual ~AttentionExchange() = default;

  // The sequences as attention sees them, the document of each, and the first of the kv heads that
  // this rank has attention for: all of them unless heads are exchanged.
  virtual ops::Varlen varlen() const = 0;
  virtual const std::vector<int32_t>& documents() const = 0;
  virtual int64_t first_kv_head(int64_t kv_heads) const = 0;

  // What attention reads of own rows, on its way from other ranks; to be given to attention() of
  // the same exchange. Keys or values [T, K, D], queries [T, Hq, D].
  struct Rows {
    Tensor rows;
    std::unique_ptr<parallel::Pending> pending;  // null: they are there
  };
  virtual Rows begin(const Tensor& own) const = 0;
  virtual Rows begin_queries(const Tensor& own) const { return {own, {}}; }
  // q, k and v of `in` from what began; the gates [D, K] as those of its sequences; varlen.
  virtual void attention(Rows q, Rows k, Rows v, const Tensor& gate,
                         ops::RoutedAttentionInput& in) const = 0;
  // Attention's output as own rows [T, Hq, D], and the adjoint, for the output's gradient.
  virtual Tensor own_rows(const Tensor& out) const = 0;
  virtual Tensor attention_rows(const Tensor& own) const = 0;
  // Gradients of q, k and v (where there are any) to own rows, and of the gates to [D, K]: this
  // rank's part of their sum over the context group.
  virtual void backward(ops::RoutedAttentionGradient& d, int64_t kv_heads) const = 0;
};

// All rows are here. The batch must outlive it.
std::unique_ptr<AttentionExchange> local_attention(const data::PackedBatch& batch);

// Ranks of `context` have the rows that the plan gives them. `batch` is the whole one; all must
// outlive it.
// Keys and values are gathered: every rank has all heads, so that the work of a rank does not
// depend on what the gates say (docs/parallelism.md).
std::unique_ptr<AttentionExchange> gathered_attention(const data::PackedBatch& batch,
                                                      const data::ContextPlan& plan,
                                                      parallel::Communicator& context);
// DeepSpeed-Ulysses: heads are exchanged for rows, so that every rank has all rows of some heads.
// The group must divide the kv heads.
std::unique_ptr<AttentionExchange> exchanged_heads(const data::PackedBatch& batch,
                                                   const data::ContextPlan& plan,
                                                   parallel::Communicator& context);

}  // namespace elastron::model
