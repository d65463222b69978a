// Tensor-parallel linear layers and embedding: the same results and gradients as one rank with the
// whole weight.
#include <cmath>

#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "parallel/embedding.h"
#include "parallel/linear.h"
#include "parallel/region.h"
#include "parallel/shard.h"
#include "tests/parallel/support.h"

namespace elastron::parallel {
namespace {

struct Precision {
  DType dtype;
  double rtol;
};

// bfloat16: each rank's part is rounded to 8 bits before the sum, hence 2^-8 times a few.
constexpr Precision kPrecisions[] = {{DType::f64, 1e-12}, {DType::f32, 2e-6}, {DType::bf16, 2e-2}};

class Layers : public WorldTest {
 protected:
  // This rank's part of a logical value, as a loader would fill it in.
  void fill(Parameter& p, const Tensor& logical) {
    const Partition& part = p.partition;
    p.value.copy_from(logical.slice(part.dim, part.offset, part.offset + part.size));
  }
  Tensor shard_of(const Tensor& logical, const Parameter& p) {
    return logical.slice(p.partition.dim, p.partition.offset,
                         p.partition.offset + p.partition.size);
  }
};

TEST_F(Layers, ColumnThenRowIsTheSameAsOneRank) {
  const Mesh mesh(world, {.data = 1, .context = 1, .tensor = world.size()});
  Communicator& group = mesh.tensor();
  const int64_t tokens = 9, in = 10, hidden = 6 * world.size(), out = 7;
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const bool trainable : {false, true}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + (trainable ? " trainable" : " frozen"));
      const Tensor a = random_tensor({hidden, in}, dtype, 1, device);
      const Tensor b = random_tensor({hidden, in}, dtype, 2, device);
      const Tensor c = random_tensor({out, hidden}, dtype, 3, device);
      const Tensor x = random_tensor({tokens, in}, dtype, 4, device);
      const Tensor dy = random_tensor({tokens, out}, dtype, 5, device);

      ShardedLinear first({.name = "a", .out = hidden, .in = in}, dtype, trainable, group, device);
      ShardedLinear second({.name = "b", .out = hidden, .in = in}, dtype, trainable, group, device);
      ShardedLinear third({.name = "c", .out = out, .in = hidden, .split = Split::in}, dtype,
                          trainable, group, device);
      fill(first.parameter(), a);
      fill(second.parameter(), b);
      fill(third.parameter(), c);

      // One rank: y = (a x + b x) c.
      const ops::LinearWeight wa(a, ops::WeightForm::packed), wb(b, ops::WeightForm::packed),
          wc(c, ops::WeightForm::packed);
      const Tensor h = ops::add(ops::linear_forward(x, wa), ops::linear_forward(x, wb));
      const Tensor y = ops::linear_forward(h, wc);
      const Tensor dh = ops::linear_dgrad(dy, wc);
      const Tensor dx = ops::linear_dgrad(dh, wb, ops::linear_dgrad(dh, wa));

      const Tensor h_part = ops::add(first.forward(x), second.forward(x));
      expect_close(h_part, own_slice(h, 1, group), rtol, "column-parallel forward");
      Tensor y_sum = third.forward(h_part);
      sum_over_group(y_sum, group);
      expect_close(y_sum, y, rtol, "row-parallel forward");
      expect_same_bits(y_sum, group);

      const Tensor dh_part = third.backward_input(dy);
      expect_close(dh_part, own_slice(dh, 1, group), rtol, "row-parallel dgrad");
      // Two branches read x: one sum for both.
      Tensor dx_sum = first.backward_input(dh_part);
      second.backward_input(dh_part, dx_sum);
      sum_over_group(dx_sum, group);
      expect_close(dx_sum, dx, rtol, "column-parallel dgrad");

      if (!trainable) {
        EXPECT_FALSE(first.parameter().grad.defined());
        EXPECT_FALSE(first.parameter().master.defined());
        EXPECT_THROW(first.backward_weight(dh_part, x), LogicError);
        continue;
      }
      const DType master = accumulator_dtype(dtype);
      Tensor da = Tensor::zeros({hidden, in}, master, device);
      Tensor dc = Tensor::zeros({out, hidden}, master, device);
      for (int twice = 0; twice < 2; ++twice) {  // gradients accumulate
        ops::linear_wgrad(dh, x, da);
        ops::linear_wgrad(dy, h, dc);
        first.backward_weight(dh_part, x);
        third.backward_weight(dy, h_part);
      }
      expect_close(first.parameter().grad, shard_of(da, first.parameter()).clone(), rtol,
                   "column-parallel wgrad");
      expect_close(third.parameter().grad, shard_of(dc, third.parameter()).clone(), rtol,
                   "row-parallel wgrad");
      EXPECT_EQ(first.parameter().master.raw() == first.parameter().value.raw(), master == dtype);
    }
  }
}

// Under either split, with the gradient where the layer trains; under Split::in the bias enters the
// sum over the ranks once.
TEST_F(Layers, ABiasIsTheSameAsOneRanks) {
  const auto group = world.split(0, world.rank(), "tensor");
  const int64_t tokens = 5, in = 4 * world.size(), out = 6 * world.size();
  for (const auto& [dtype, rtol] : kPrecisions) {
    const Tensor w = random_tensor({out, in}, dtype, 1, device);
    const Tensor b = random_tensor({out}, dtype, 2, device);
    const Tensor x = random_tensor({tokens, in}, dtype, 3, device);
    const Tensor dy = random_tensor({tokens, out}, dtype, 4, device);
    const Tensor y = ops::linear_forward(x, ops::LinearWeight(w, ops::WeightForm::packed), b);
    Tensor db = Tensor::zeros({out}, accumulator_dtype(dtype), device);
    ops::linear_bias_grad(dy, db);
    for (const Split split : {Split::out, Split::in}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + (split == Split::out ? " out" : " in"));
      const bool rows = split == Split::out;
      ShardedLinear layer({.name = "w", .out = out, .in = in, .split = split, .bias = true}, dtype,
                          /*trainable=*/true, *group, device);
      ParameterList list;
      layer.append_parameters(list);
      ASSERT_EQ(list.size(), 2u);
      EXPECT_EQ(list[1]->name, "w.bias");
      EXPECT_EQ(list[1]->partition.replicated(), !rows);
      fill(layer.parameter(), w);
      layer.bias()->value.copy_from(rows ? shard_of(b, *layer.bias()) : b);

      const Tensor own_x = rows ? x : own_slice(x, 1, *group);
      Tensor got = layer.forward(own_x);
      if (!rows) sum_over_group(got, *group);
      expect_close(got, rows ? own_slice(y, 1, *group) : y, rtol, "forward");

      std::vector<std::string> complete;
      layer.backward_weight(rows ? own_slice(dy, 1, *group) : dy, own_x,
                            [&](Parameter& p) { complete.push_back(p.name); });
      EXPECT_EQ(complete, (std::vector<std::string>{"w.weight", "w.bias"}));
      expect_close(layer.bias()->grad, rows ? shard_of(db, *layer.bias()).clone() : db, rtol,
                   "gradient");
    }
  }
}

// Values, and the masters that the optimiser updates, whatever was in their memory before.
TEST_F(Layers, AnAdapterBeginsAsZero) {
  constexpr int64_t kWidth = 64;
  {
    std::vector<Tensor> used;
    for (int i = 0; i < 64; ++i) {
      used.push_back(Tensor::from(std::vector<float>(kWidth, NAN), {kWidth}, device));
    }
  }
  SelfCommunicator self("tensor");
  ShardedLinear layer({.name = "w", .out = kWidth, .in = kWidth}, DType::bf16, false, self, device);
  layer.adapt(/*rank=*/1, /*scale=*/1.0, /*trainable=*/true);
  const std::vector<float> zeros(kWidth, 0.0f);
  for (const Parameter* p : {&layer.adapter()->a, &layer.adapter()->b}) {
    EXPECT_EQ(p->master.to_vector<float>(), zeros) << p->name;
    EXPECT_EQ(ops::cast(p->value, DType::f32).to_vector<float>(), zeros) << p->name;
  }
}

TEST_F(Layers, TheParameterStaysWhereItIsWhenTheLayerMoves) {
  SelfCommunicator self("tensor");
  ShardedLinear layer({.name = "w", .out = 4, .in = 4}, DType::f32, true, self, device);
  const Parameter* before = &layer.parameter();
  const ShardedLinear moved = std::move(layer);
  EXPECT_EQ(&moved.parameter(), before);
}

TEST_F(Layers, AWidthThatDoesNotDivideIsAUsageError) {
  const auto group = world.split(0, world.rank(), "tensor");
  if (world.size() == 1) GTEST_SKIP() << "everything divides by one";
  const int64_t width = world.size() * 4 + 1;
  try {
    const ShardedLinear narrow({.name = "model.layers.0.mlp.up_proj", .out = width, .in = 8},
                               DType::f32, false, *group, device);
    FAIL() << "no error: " << narrow.parameter().name;
  } catch (const UsageError& error) {
    EXPECT_EQ(std::string(error.what()),
              "dimension 0 of model.layers.0.mlp.up_proj.weight, " + std::to_string(width) +
                  ", cannot be divided over parallel.tensor=" + std::to_string(world.size()) +
                  " ranks (parallel.tensor): choose a divisor of " + std::to_string(width));
  }
  const LinearShape rows{.name = "w", .out = 8, .in = width, .split = Split::in};
  EXPECT_THROW(ShardedLinear(rows, DType::f32, false, *group, device), UsageError);
}

TEST(Shard, CeilPartsTileTheExtentOnceForEverySize) {
  for (int64_t extent = 1; extent <= 40; ++extent) {
    for (int size = 1; size <= 9; ++size) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Partition p = ceil_partition(0, extent, rank, size);
        EXPECT_EQ(p.offset, next);
        EXPECT_GE(p.size, 0);
        EXPECT_LE(p.size, (extent + size - 1) / size);
        next += p.size;
      }
      EXPECT_EQ(next, extent);
    }
  }
}

// Vocabularies that divide, that do not, and that leave ranks without rows.
TEST_F(Layers, EmbeddingIsTheSameAsOneRankForAnyVocabulary) {
  const auto group = world.split(0, world.rank(), "tensor");
  const int64_t hidden = 5;
  for (const auto& [dtype, rtol] : kPrecisions) {
    for (const int64_t vocab : {1, 2, 5, 12, 13}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " vocabulary " + std::to_string(vocab));
      std::vector<int32_t> ids;
      for (int32_t i = 0; i < 20; ++i) ids.push_back(int32_t(i * i % vocab));
      const Tensor id = Tensor::from(ids, {20}, device);
      const Tensor table = random_tensor({vocab, hidden}, dtype, 1, device);
      const Tensor dy = random_tensor({20, hidden}, dtype, 2, device);
      VocabParallelEmbedding layer("embed", vocab, hidden, dtype, true, *group, device);
      fill(layer.parameter(), table);

      const Tensor y = TensorRegion(*group, false).leave(layer.forward(id));
      expect_close(y, ops::embedding_forward(id, table, 0), 0, "forward is exact");
      layer.backward_weight(dy, id);
      Tensor dtable = Tensor::zeros({vocab, hidden}, accumulator_dtype(dtype), device);
      ops::embedding_backward(dy, id, 0, dtable);
      expect_close(layer.parameter().grad, shard_of(dtable, layer.parameter()).clone(), rtol,
                   "gradient");
      // The shards tile the logical table.
      EXPECT_EQ(sum_of(double(layer.parameter().partition.size), *group), double(vocab));
    }
  }
}

}  // namespace
}  // namespace elastron::parallel
