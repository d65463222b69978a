// LM head and loss over a split vocabulary: against finite differences, against formulas written
// out, and against one rank.
#include "parallel/cross_entropy.h"

#include "core/error.h"
#include "ops/cross_entropy.h"
#include "parallel/embedding.h"
#include "tests/parallel/support.h"
#include "tests/support/gradcheck.h"

namespace elastron::parallel {
namespace {

struct Problem {
  int64_t tokens = 0, hidden = 0, vocab = 0;
  std::vector<double> x, w;  // [tokens, hidden], [vocab, hidden]
  std::vector<int32_t> targets;

  static Problem make(int64_t tokens, int64_t hidden, int64_t vocab) {
    Problem p{
        tokens, hidden, vocab, random_values(tokens * hidden, 1), random_values(vocab * hidden, 2),
        {}};
    for (int64_t t = 0; t < tokens; ++t) {
      p.targets.push_back(t % 3 == 1 ? ops::kIgnoreLabel : int32_t((t * 5 + 2) % vocab));
    }
    return p;
  }
};

// Plain loops, in double.
struct Expected {
  double loss_sum = 0;
  std::vector<int32_t> rows, argmax;
  std::vector<double> row_loss, dx, dw, logits;
};

Expected reference(const Problem& p, double scale) {
  Expected e;
  e.dx.assign(p.x.size(), 0);
  e.dw.assign(p.w.size(), 0);
  for (int64_t t = 0; t < p.tokens; ++t) {
    std::vector<double> logits(size_t(p.vocab), 0);
    for (int64_t v = 0; v < p.vocab; ++v) {
      for (int64_t h = 0; h < p.hidden; ++h) {
        logits[size_t(v)] += p.x[size_t(t * p.hidden + h)] * p.w[size_t(v * p.hidden + h)];
      }
    }
    e.logits.insert(e.logits.end(), logits.begin(), logits.end());
    const int32_t target = p.targets[size_t(t)];
    if (target == ops::kIgnoreLabel) continue;
    double sum = 0;
    for (const double l : logits) sum += std::exp(l);
    const double loss = std::log(sum) - logits[size_t(target)];
    e.loss_sum += loss;
    e.rows.push_back(int32_t(t));
    e.row_loss.push_back(loss);
    e.argmax.push_back(int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    for (int64_t v = 0; v < p.vocab; ++v) {
      const double d = (std::exp(logits[size_t(v)]) / sum - (v == target ? 1 : 0)) * scale;
      for (int64_t h = 0; h < p.hidden; ++h) {
        e.dx[size_t(t * p.hidden + h)] += d * p.w[size_t(v * p.hidden + h)];
        e.dw[size_t(v * p.hidden + h)] += d * p.x[size_t(t * p.hidden + h)];
      }
    }
  }
  return e;
}

class CrossEntropy : public WorldTest {
 protected:
  VocabParallelHead make_head(const Problem& p, DType dtype, bool trainable, Communicator& group) {
    VocabParallelHead head("lm_head.weight", p.vocab, p.hidden, dtype, trainable, group, device);
    fill(head.parameter(), p);
    return head;
  }
  void fill(Parameter& parameter, const Problem& p) {
    const Tensor whole = tensor_of(p.w, {p.vocab, p.hidden}, parameter.value.dtype(), device);
    const Partition& part = parameter.partition;
    parameter.value.copy_from(whole.slice(0, part.offset, part.offset + part.size));
  }
  Tensor hidden_of(const Problem& p, DType dtype) {
    return tensor_of(p.x, {p.tokens, p.hidden}, dtype, device);
  }
};

// Vocabularies that divide over the ranks, that do not, and that leave ranks without any; one
// chunk, chunks with a ragged end, and a row at a time.
TEST_F(CrossEntropy, LossGradientsAndArgmaxAreTheFormulas) {
  const auto group = world.split(0, world.rank(), "tensor");
  const double scale = 0.37;
  for (const int64_t vocab : {1, 2, 5, 16, 33}) {
    const Problem p = Problem::make(20, 6, vocab);
    const Expected e = reference(p, scale);
    for (const int64_t chunk : {1, 4, 2048}) {
      for (const auto& [dtype, rtol] :
           {std::pair{DType::f64, 1e-12}, std::pair{DType::f32, 4e-6}}) {
        SCOPED_TRACE(std::string(dtype_name(dtype)) + " vocabulary " + std::to_string(vocab) +
                     " chunk " + std::to_string(chunk));
        VocabParallelHead head = make_head(p, dtype, true, *group);
        const auto result = head.loss(
            hidden_of(p, dtype), p.targets,
            {.need_gradient = true, .gradient_scale = scale, .per_row = true, .chunk_rows = chunk});
        EXPECT_NEAR(result.loss_sum(), e.loss_sum, rtol * (e.loss_sum + 1));
        EXPECT_EQ(result.count, int64_t(e.rows.size()));
        EXPECT_EQ(result.rows, e.rows);
        EXPECT_EQ(result.argmax, e.argmax);
        ASSERT_EQ(result.row_loss.size(), e.row_loss.size());
        for (size_t i = 0; i < e.row_loss.size(); ++i) {
          EXPECT_NEAR(result.row_loss[i], e.row_loss[i], rtol * (e.row_loss[i] + 1));
        }
        if (vocab > 1) {  // a single word is certain: all gradients are 0
          expect_close(result.d_hidden, tensor_of(e.dx, {p.tokens, p.hidden}, dtype, device), rtol,
                       "d_hidden");
          expect_same_bits(result.d_hidden, *group);
          const Partition& part = head.parameter().partition;
          if (part.size > 0) {
            const Tensor dw = tensor_of(e.dw, {vocab, p.hidden}, dtype, device);
            // Bound by the whole gradient: a shard's own may be tiny.
            Tensor mine = Tensor::zeros({vocab, p.hidden}, dtype, device);
            Tensor place = mine.slice(0, part.offset, part.offset + part.size);
            place.copy_from(head.parameter().grad);
            Tensor wanted = Tensor::zeros({vocab, p.hidden}, dtype, device);
            Tensor wanted_place = wanted.slice(0, part.offset, part.offset + part.size);
            wanted_place.copy_from(dw.slice(0, part.offset, part.offset + part.size));
            expect_close(mine, wanted, 4 * rtol, "weight gradient");
          }
        }
        EXPECT_EQ(group->broadcast_host(std::to_string(result.loss_sum()), 0),
                  std::to_string(result.loss_sum()));
      }
    }
  }
}

TEST_F(CrossEntropy, FiniteDifferencesOfTheHiddenStatesAndTheWeight) {
  const auto group = world.split(0, world.rank(), "tensor");
  const double scale = 0.25, step = 1e-5;
  Problem p = Problem::make(7, 4, 11);
  VocabParallelHead head = make_head(p, DType::f64, true, *group);
  const auto result = head.loss(hidden_of(p, DType::f64), p.targets,
                                {.need_gradient = true, .gradient_scale = scale, .chunk_rows = 3});
  const auto loss_at = [&] {
    fill(head.parameter(), p);
    return scale * head.loss(hidden_of(p, DType::f64), p.targets, {.chunk_rows = 3}).loss_sum();
  };
  const auto difference = [&](double& value) {
    return test::central_difference(value, loss_at, step);
  };
  const auto dx = values_of(result.d_hidden);
  for (size_t i = 0; i < p.x.size(); ++i) EXPECT_NEAR(dx[i], difference(p.x[i]), 1e-9) << i;

  Tensor dw = Tensor::zeros({p.vocab, p.hidden}, DType::f64, device);
  const Partition& part = head.parameter().partition;
  Tensor place = dw.slice(0, part.offset, part.offset + part.size);
  place.copy_from(head.parameter().grad);
  group->all_reduce(dw, ReduceOp::sum).wait();
  const auto weight_gradient = values_of(dw);
  for (size_t i = 0; i < p.w.size(); ++i) {
    EXPECT_NEAR(weight_gradient[i], difference(p.w[i]), 1e-9) << i;
  }
}

TEST_F(CrossEntropy, BfloatHiddenStatesFollowTheExactLossWithinTheirPrecision) {
  const auto group = world.split(0, world.rank(), "tensor");
  Problem p = Problem::make(40, 16, 50);
  // What bfloat16 holds exactly, so that only arithmetic and stored logits differ.
  for (auto* values : {&p.x, &p.w}) {
    for (double& v : *values) v = double(float(bf16(float(v))));
  }
  const Expected e = reference(p, 0.1);
  VocabParallelHead head = make_head(p, DType::bf16, true, *group);
  const auto result = head.loss(hidden_of(p, DType::bf16), p.targets,
                                {.need_gradient = true, .gradient_scale = 0.1});
  // Logits are at most 16, so that each is off by up to 2^-5; the mean error is far smaller.
  EXPECT_NEAR(result.loss_sum() / double(result.count), e.loss_sum / double(e.rows.size()), 0.03);
  expect_close(result.d_hidden, tensor_of(e.dx, {p.tokens, p.hidden}, DType::f64, device), 0.05,
               "d_hidden");
  EXPECT_EQ(head.parameter().grad.dtype(), DType::f32);
}

TEST_F(CrossEntropy, LargeLogitsDoNotOverflow) {
  const auto group = world.split(0, world.rank(), "tensor");
  Problem p = Problem::make(4, 1, 3);
  p.x = {1000, 1000, 1000, 1000};
  p.w = {1, 0.999, -1};
  p.targets = {0, 1, 2, ops::kIgnoreLabel};
  VocabParallelHead head = make_head(p, DType::f64, false, *group);
  const auto result = head.loss(hidden_of(p, DType::f64), p.targets, {.per_row = true});
  const double tail = std::log1p(std::exp(-1.0));
  EXPECT_NEAR(result.row_loss[0], tail, 1e-9);
  EXPECT_NEAR(result.row_loss[1], 1 + tail, 1e-9);
  EXPECT_NEAR(result.row_loss[2], 2000 + tail, 1e-9);
}

TEST_F(CrossEntropy, OfEqualLogitsTheSmallestIdIsTheArgmax) {
  const auto group = world.split(0, world.rank(), "tensor");
  Problem p = Problem::make(1, 1, 9);
  p.x = {1};
  p.w = {0, 2, 0, 2, 0, 2, 2, 2, 2};
  p.targets = {4};
  VocabParallelHead head = make_head(p, DType::f64, false, *group);
  EXPECT_EQ(head.loss(hidden_of(p, DType::f64), p.targets, {.per_row = true}).argmax,
            std::vector<int32_t>{1});
}

TEST_F(CrossEntropy, WithoutLabelsThereIsNoLossAndAZeroGradient) {
  const auto group = world.split(0, world.rank(), "tensor");
  Problem p = Problem::make(5, 3, 7);
  p.targets.assign(5, ops::kIgnoreLabel);
  VocabParallelHead head = make_head(p, DType::f32, true, *group);
  const auto result = head.loss(hidden_of(p, DType::f32), p.targets, {.need_gradient = true});
  EXPECT_EQ(result.loss_sum(), 0);
  EXPECT_EQ(result.count, 0);
  for (const double v : values_of(result.d_hidden)) EXPECT_EQ(v, 0);
  for (const double v : values_of(head.parameter().grad)) EXPECT_EQ(v, 0);
}

TEST_F(CrossEntropy, AFrozenHeadHasNoGradientAndATiedOneSharesTheTables) {
  const auto group = world.split(0, world.rank(), "tensor");
  const Problem p = Problem::make(12, 4, 10);
  VocabParallelHead frozen = make_head(p, DType::f64, false, *group);
  const auto expected = frozen.loss(hidden_of(p, DType::f64), p.targets, {.need_gradient = true});
  EXPECT_FALSE(frozen.parameter().grad.defined());

  VocabParallelEmbedding embedding("embed", p.vocab, p.hidden, DType::f64, true, *group, device);
  fill(embedding.parameter(), p);
  VocabParallelHead tied(embedding.parameter(), *group);
  EXPECT_EQ(&tied.parameter(), &embedding.parameter());
  const auto result = tied.loss(hidden_of(p, DType::f64), p.targets, {.need_gradient = true});
  EXPECT_DOUBLE_EQ(result.loss_sum(), expected.loss_sum);
  const Expected e = reference(p, 1.0);
  const Partition& part = embedding.parameter().partition;
  const Tensor dw = tensor_of(e.dw, {p.vocab, p.hidden}, DType::f64, device);
  expect_close(embedding.parameter().grad,
               dw.slice(0, part.offset, part.offset + part.size).clone(), 1e-11, "tied gradient");
}

TEST_F(CrossEntropy, LogitsAreWholeOnEveryRank) {
  const auto group = world.split(0, world.rank(), "tensor");
  for (const int64_t vocab : {1, 5, 16}) {
    const Problem p = Problem::make(6, 3, vocab);
    const Expected e = reference(p, 1);
    const VocabParallelHead head = make_head(p, DType::f64, false, *group);
    expect_close(head.logits(hidden_of(p, DType::f64)),
                 tensor_of(e.logits, {6, vocab}, DType::f64, device), 1e-13, "logits");
  }
}

TEST_F(CrossEntropy, ATargetOutsideTheVocabularyIsAMistakeOfTheCaller) {
  const auto group = world.split(0, world.rank(), "tensor");
  Problem p = Problem::make(3, 2, 5);
  VocabParallelHead head = make_head(p, DType::f32, false, *group);
  for (const int32_t wrong : {5, -1}) {
    p.targets[0] = wrong;
    EXPECT_THROW(head.loss(hidden_of(p, DType::f32), p.targets, {}), LogicError);
  }
  p.targets.pop_back();
  EXPECT_THROW(head.loss(hidden_of(p, DType::f32), p.targets, {}), LogicError);
}

// The memory that fusing saves: logits of a chunk at a time, never of all rows.
TEST_F(CrossEntropy, MemoryIsAChunkOfLogitsNotAllOfThem) {
  const auto group = world.split(0, world.rank(), "tensor");
  const int64_t tokens = 4000, hidden = 8, vocab = 512;
  const Problem p = Problem::make(tokens, hidden, vocab);
  VocabParallelHead head = make_head(p, DType::f32, false, *group);
  const Tensor x = hidden_of(p, DType::f32);
  const int64_t before = device.memory().in_use_bytes;
  device.reset_peak();
  const auto result = head.loss(x, p.targets, {.need_gradient = true, .chunk_rows = 64});
  const int64_t whole_logits = result.count * head.parameter().partition.size * 4;
  const int64_t d_hidden = int64_t(result.d_hidden.bytes());
  EXPECT_LT(device.memory().peak_bytes - before - d_hidden, whole_logits / 8);
}

}  // namespace
}  // namespace elastron::parallel
