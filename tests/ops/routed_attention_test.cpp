// Routed attention against docs/method.md, Worked values, against the formulas written plainly, and
// the invariants: nothing depends on threads, packing, or which branches were asked for.
#include <gtest/gtest.h>

#include <numbers>

#include "core/error.h"
#include "tests/ops/routed_attention_problem.h"

namespace elastron::testing {
namespace {

using ops::Branches;

AttentionProblem problem_of(int64_t q_heads, int64_t kv_heads, int64_t head_dim,
                            const std::vector<int32_t>& lengths, ops::StreamingRule rule,
                            Gates gates) {
  AttentionProblem p = attention_problem(q_heads, kv_heads, head_dim, lengths, gates);
  p.rule = rule;
  return p;
}

class Threads {
 public:
  explicit Threads(int n) : before_(omp_get_max_threads()) { omp_set_num_threads(n); }
  ~Threads() { omp_set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

double root_mean_square_error(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / double(std::max<size_t>(a.size(), 1)));
}

// The fast code may err at most `slack` times as much as plain code in the same types does. The
// floor is a few roundings, where the plain sum happens to be exact (one visible key, say).
void expect_as_accurate(const char* what, const std::vector<double>& fast,
                        const std::vector<double>& plain, const std::vector<double>& truth,
                        double slack = 2) {
  const double floor = 8 * double(std::numeric_limits<float>::epsilon());
  ASSERT_EQ(fast.size(), truth.size()) << what;
  EXPECT_LE(root_mean_square_error(fast, truth),
            slack * root_mean_square_error(plain, truth) + floor / 8)
      << what;
  EXPECT_LE(largest_error(fast, truth), 2 * slack * largest_error(plain, truth) + floor) << what;
}

void expect_as_accurate(const AttentionRun& fast, const AttentionRun& plain,
                        const AttentionRun& truth) {
  expect_as_accurate("selected", fast.selected, plain.selected, truth.selected);
  expect_as_accurate("other", fast.other, plain.other, truth.other);
  expect_as_accurate("lse", fast.lse, plain.lse, truth.lse);
  expect_as_accurate("dq", fast.dq, plain.dq, truth.dq);
  expect_as_accurate("dk", fast.dk, plain.dk, truth.dk);
  expect_as_accurate("dv", fast.dv, plain.dv, truth.dv);
}

// A case has a handful of gate gradients, too few to compare errors by: those of all cases are
// taken together.
class GateGradients {
 public:
  void add(const AttentionRun& fast, const AttentionRun& plain, const AttentionRun& truth) {
    append(fast_, fast);
    append(plain_, plain);
    append(truth_, truth);
  }
  void expect_accurate() const { expect_as_accurate("d_gate", fast_, plain_, truth_); }

 private:
  static void append(std::vector<double>& all, const AttentionRun& run) {
    all.insert(all.end(), run.d_gate.begin(), run.d_gate.end());
  }
  std::vector<double> fast_, plain_, truth_;
};

void expect_same_bits(const AttentionRun& a, const AttentionRun& b) {
  EXPECT_EQ(a.selected, b.selected);
  EXPECT_EQ(a.other, b.other);
  EXPECT_EQ(a.lse, b.lse);
  EXPECT_EQ(a.dq, b.dq);
  EXPECT_EQ(a.dk, b.dk);
  EXPECT_EQ(a.dv, b.dv);
  EXPECT_EQ(a.d_gate, b.d_gate);
}

// --- Worked values
// ----------------------------------------------------------------------------

TEST(RoutedAttention, WorkedOnePassValues) {  // docs/method.md, Worked values, 8
  AttentionProblem p = problem_of(1, 1, 1, {3}, {1, 1, 1}, Gates::sparse);  // row 2 sees {0, 2}
  p.q = {0, 0, 1};
  p.k = {0, std::log(2.0), std::log(3.0)};
  p.v = {1, 2, 4};
  p.d_out = {0, 0, 2};
  p.scale = 1;
  const AttentionRun sparse = run_attention<double>(p);
  EXPECT_NEAR(sparse.selected[2], 3.25, 1e-15);
  EXPECT_NEAR(sparse.lse[2], std::log(4.0), 1e-15);
  EXPECT_NEAR(sparse.other[2], 17.0 / 6, 1e-15);
  EXPECT_NEAR(sparse.d_gate[0], -5.0 / 6, 1e-14);
  EXPECT_NEAR(sparse.dv[0], 0.5, 1e-15);
  EXPECT_EQ(sparse.dv[1], 0.0);
  EXPECT_NEAR(sparse.dv[2], 1.5, 1e-15);
  EXPECT_NEAR(sparse.dk[0], -1.125, 1e-15);  // dS, as q is 1
  EXPECT_EQ(sparse.dk[1], 0.0);
  EXPECT_NEAR(sparse.dk[2], 1.125, 1e-15);
  EXPECT_NEAR(sparse.dq[2], 1.125 * std::log(3.0), 1e-15);

  p.gate = {1};
  const AttentionRun full = run_attention<double>(p);
  EXPECT_NEAR(full.selected[2], 17.0 / 6, 1e-15);
  EXPECT_NEAR(full.lse[2], std::log(6.0), 1e-15);
  EXPECT_NEAR(full.other[2], 3.25, 1e-15);
  EXPECT_NEAR(full.d_gate[0], -5.0 / 6, 1e-14);
  EXPECT_NEAR(full.dv[1], 2.0 / 3, 1e-15);
}

// With q = 0 every visible key weighs the same, and with one-hot values the output row lists them.
std::vector<std::vector<int64_t>> visible_rows(const std::vector<int32_t>& lengths,
                                               ops::StreamingRule rule) {
  int64_t tokens = 0;
  for (const int32_t n : lengths) tokens += n;
  AttentionProblem p = problem_of(1, 1, tokens, lengths, rule, Gates::sparse);
  fill_problem<double>(p, 1);
  std::fill(p.q.begin(), p.q.end(), 0.0);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t d = 0; d < tokens; ++d) p.v[size_t(t * tokens + d)] = t == d ? 1 : 0;
  }
  const AttentionRun run = run_attention<double>(p, Branches::both, false);
  std::vector<std::vector<int64_t>> rows;
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<int64_t> keys;
    for (int64_t d = 0; d < tokens; ++d) {
      if (run.selected[size_t(t * tokens + d)] != 0) keys.push_back(d);
    }
    for (const int64_t d : keys) {
      EXPECT_NEAR(run.selected[size_t(t * tokens + d)], 1.0 / double(keys.size()), 1e-15);
    }
    EXPECT_NEAR(run.lse[size_t(t)], std::log(double(keys.size())), 1e-14);
    rows.push_back(keys);
  }
  return rows;
}

TEST(RoutedAttention, WorkedVisibleKeys) {  // docs/method.md, Worked values, 1 and 3
  const auto rows = visible_rows({10}, {2, 1, 2});
  using Keys = std::vector<int64_t>;
  for (int64_t i = 0; i <= 5; ++i) EXPECT_EQ(int64_t(rows[size_t(i)].size()), i + 1);
  EXPECT_EQ(rows[6], (Keys{0, 1, 4, 5, 6}));
  EXPECT_EQ(rows[7], (Keys{0, 1, 4, 5, 6, 7}));
  EXPECT_EQ(rows[8], (Keys{0, 1, 6, 7, 8}));
  EXPECT_EQ(rows[9], (Keys{0, 1, 6, 7, 8, 9}));

  const auto packed = visible_rows({3, 5}, {2, 1, 1});
  EXPECT_EQ(packed[2], (Keys{0, 1, 2}));
  EXPECT_EQ(packed[3], (Keys{3}));
  EXPECT_EQ(packed[5], (Keys{3, 4, 5}));
  EXPECT_EQ(packed[6], (Keys{3, 4, 5, 6}));
  EXPECT_EQ(packed[7], (Keys{3, 4, 7}));
}

// --- Against the plain formulas
// -------------------------------------------------------------------

struct Heads {
  int64_t q, kv, dim;
};
const Heads kHeads[] = {{2, 2, 32},  {2, 1, 64},  {5, 1, 80}, {3, 1, 96},
                        {8, 1, 128}, {14, 2, 20}, {4, 1, 2},  {1, 1, 256}};
const int64_t kBlocks[] = {2, 8, 16, 64, 128};

template <class F>
void over_shapes(const F& f) {
  int i = 0;
  for (const Heads& heads : kHeads) {
    for (const Gates gates : {Gates::mixed, Gates::full, Gates::sparse}) {
      // Wide heads only mixed: plain code under the sanitizers takes minutes otherwise.
      if (gates != Gates::mixed && heads.q * heads.dim > 300) continue;
      const int64_t block = kBlocks[i % 5];
      AttentionProblem p = problem_of(heads.q, heads.kv, heads.dim, {1, 3, 63, 0, 65, 129},
                                      {block, i % 3, 1 + i % 4}, gates);
      p.padding = i % 2 == 0 ? 5 : 0;
      SCOPED_TRACE("case " + std::to_string(i) + ": heads " + std::to_string(heads.q) + "/" +
                   std::to_string(heads.kv) + " of " + std::to_string(heads.dim) + ", block " +
                   std::to_string(block));
      f(p, uint64_t(++i));
    }
  }
}

TEST(RoutedAttention, DoubleMatchesReference) {
  over_shapes([](AttentionProblem& p, uint64_t seed) {
    fill_problem<double>(p, seed);
    const AttentionRun truth = selected_by_gate(p, attention_reference<double, double>(p));
    const AttentionRun run = run_attention<double>(p);
    EXPECT_LE(largest_error(run.selected, truth.selected), 1e-13);
    EXPECT_LE(largest_error(run.other, truth.other), 1e-13);
    EXPECT_LE(largest_error(run.lse, truth.lse), 1e-13);
    EXPECT_LE(largest_error(run.dq, truth.dq), 1e-12);
    EXPECT_LE(largest_error(run.dk, truth.dk), 1e-12);
    EXPECT_LE(largest_error(run.dv, truth.dv), 1e-12);
    EXPECT_LE(largest_error(run.d_gate, truth.d_gate), 1e-10);  // a sum over rows and channels
  });
}

template <class T>
void expect_as_accurate_over_shapes() {
  GateGradients gates;
  over_shapes([&](AttentionProblem& p, uint64_t seed) {
    fill_problem<T>(p, seed);
    const AttentionRun fast = run_attention<T>(p);
    const auto plain = selected_by_gate(p, attention_reference<float, T>(p));
    const auto truth = selected_by_gate(p, attention_reference<double, double>(p));
    expect_as_accurate(fast, plain, truth);
    gates.add(fast, plain, truth);
  });
  gates.expect_accurate();
}

TEST(RoutedAttention, FloatAsAccurateAsPlainCode) { expect_as_accurate_over_shapes<float>(); }
TEST(RoutedAttention, Bfloat16AsAccurateAsPlainCode) { expect_as_accurate_over_shapes<bf16>(); }

// Sequences whose first keys are of tokens that stand elsewhere: none, some, all but one.
AttentionProblem behind_prompts(const Heads& heads, ops::StreamingRule rule, Gates gates) {
  AttentionProblem p =
      problem_of(heads.q, heads.kv, heads.dim, {70, 1, 130, 3, 64, 20}, rule, gates);
  p.cu_keys = {0};
  for (const int32_t n : {70, 71, 150, 203, 128, 300}) p.cu_keys.push_back(p.cu_keys.back() + n);
  return p;
}

TEST(RoutedAttention, KeysBeforeTheFirstQuery) {
  int round = 0;
  for (const Heads& heads : {Heads{2, 2, 32}, Heads{3, 1, 20}, Heads{8, 2, 64}}) {
    for (const Gates gates : {Gates::mixed, Gates::full, Gates::sparse}) {
      AttentionProblem p =
          behind_prompts(heads, {kBlocks[round % 3], round % 3, 1 + round % 4}, gates);
      p.padding = round % 2 == 0 ? 3 : 0;
      fill_problem<double>(p, uint64_t(++round));
      const AttentionRun truth = selected_by_gate(p, attention_reference<double, double>(p));
      const AttentionRun run = run_attention<double>(p);
      EXPECT_LE(largest_error(run.selected, truth.selected), 1e-13) << round;
      EXPECT_LE(largest_error(run.other, truth.other), 1e-13) << round;
      EXPECT_LE(largest_error(run.lse, truth.lse), 1e-13) << round;
      EXPECT_LE(largest_error(run.dq, truth.dq), 1e-12) << round;
      EXPECT_LE(largest_error(run.dk, truth.dk), 1e-12) << round;
      EXPECT_LE(largest_error(run.dv, truth.dv), 1e-12) << round;
      EXPECT_LE(largest_error(run.d_gate, truth.d_gate), 1e-10) << round;
    }
  }
}

// The rows of a sequence do not depend on whether those before them are computed with it.
TEST(RoutedAttention, TheLastRowsAreThoseOfTheWholeSequence) {
  AttentionProblem whole = problem_of(4, 2, 32, {200}, {8, 1, 3}, Gates::mixed);
  fill_problem<float>(whole, 21);
  AttentionProblem last = whole;
  last.cu_seqlens = {0, 60};
  last.cu_keys = {0, 200};
  const auto tail = [](const std::vector<double>& x, int64_t from, int64_t of) {
    return std::vector<double>(x.begin() + int64_t(x.size()) / of * from, x.end());
  };
  last.q = tail(whole.q, 140, 200);
  last.d_out = tail(whole.d_out, 140, 200);
  const AttentionRun a = run_attention<float>(whole, Branches::both, false);
  const AttentionRun b = run_attention<float>(last, Branches::both, false);
  EXPECT_LE(largest_error(b.selected, tail(a.selected, 140, 200)), 1e-6);
  EXPECT_LE(largest_error(b.other, tail(a.other, 140, 200)), 1e-6);
}

TEST(RoutedAttention, LongRowsAndSharpScores) {
  AttentionProblem p = problem_of(2, 1, 32, {1000, 64, 127}, {64, 1, 4}, Gates::mixed);
  fill_problem<float>(p, 11, 6.0);
  expect_as_accurate(run_attention<float>(p),
                     selected_by_gate(p, attention_reference<float, float>(p)),
                     selected_by_gate(p, attention_reference<double, double>(p)));
}

TEST(RoutedAttention, AllFullIsDenseCausal) {
  AttentionProblem p = problem_of(4, 2, 32, {150, 70}, {8, 1, 2}, Gates::full);
  fill_problem<double>(p, 12);
  const AttentionRun run = run_attention<double>(p);
  AttentionProblem dense = p;
  dense.rule = {1000, 0, 1};  // everything is in the diagonal block
  const AttentionRun truth = run_attention<double>(dense);
  EXPECT_LE(largest_error(run.selected, truth.selected), 1e-13);
  EXPECT_LE(largest_error(run.dq, truth.dq), 1e-12);
  EXPECT_LE(largest_error(run.dk, truth.dk), 1e-12);
  EXPECT_GT(largest_error(run.other, truth.other), 1e-2);  // the rule hides something here
}

TEST(RoutedAttention, WideWindowMakesBranchesEqual) {
  for (const Gates gates : {Gates::full, Gates::sparse}) {
    AttentionProblem p = problem_of(4, 2, 32, {200, 65}, {16, 1, 13}, gates);  // 13 blocks in all
    fill_problem<float>(p, 13);
    const AttentionRun run = run_attention<float>(p);
    EXPECT_EQ(run.selected, run.other);
    for (const double x : run.d_gate) EXPECT_EQ(x, 0.0);
  }
}

// --- Invariants
// -----------------------------------------------------------------------------------

TEST(RoutedAttention, SelectedAloneHasTheSameBits) {
  over_shapes([](AttentionProblem& p, uint64_t seed) {
    fill_problem<float>(p, seed);
    const AttentionRun both = run_attention<float>(p);
    const AttentionRun selected = run_attention<float>(p, Branches::selected);
    EXPECT_EQ(both.selected, selected.selected);
    EXPECT_EQ(both.lse, selected.lse);
    EXPECT_EQ(both.dq, selected.dq);
    EXPECT_EQ(both.dk, selected.dk);
    EXPECT_EQ(both.dv, selected.dv);
    EXPECT_TRUE(selected.other.empty());
    EXPECT_TRUE(selected.d_gate.empty());
  });
}

TEST(RoutedAttention, ThreadsDoNotChangeBits) {
  AttentionProblem p = problem_of(4, 2, 32, {700, 130, 1, 300}, {16, 1, 5}, Gates::mixed);
  fill_problem<float>(p, 21);
  AttentionRun one;
  {
    const Threads threads(1);
    one = run_attention<float>(p);
  }
  for (const int n : {2, 3, 8}) {
    const Threads threads(n);
    for (int repeat = 0; repeat < 3; ++repeat) {
      SCOPED_TRACE(n);
      expect_same_bits(one, run_attention<float>(p));
    }
  }
}

template <class Storage>
void packed_equals_alone() {
  const std::vector<int32_t> lengths = {129, 1, 64, 0, 77, 300};
  AttentionProblem p = problem_of(6, 2, 20, lengths, {8, 1, 3}, Gates::mixed);
  p.padding = 9;
  fill_problem<Storage>(p, 22);
  const AttentionRun packed = run_attention<Storage>(p);
  for (size_t s = 0; s < lengths.size(); ++s) {
    SCOPED_TRACE(s);
    AttentionProblem alone = problem_of(6, 2, 20, {lengths[s]}, p.rule, Gates::full);
    alone.gate = {p.gate[2 * s], p.gate[2 * s + 1]};
    const auto cut = [&](const std::vector<double>& values, int64_t heads, int64_t dim) {
      const auto begin = values.begin() + p.cu_seqlens[s] * heads * dim;
      return std::vector<double>(begin, begin + lengths[s] * heads * dim);
    };
    alone.q = cut(p.q, 6, 20);
    alone.k = cut(p.k, 2, 20);
    alone.v = cut(p.v, 2, 20);
    alone.d_out = cut(p.d_out, 6, 20);
    AttentionRun part;
    part.selected = cut(packed.selected, 6, 20);
    part.other = cut(packed.other, 6, 20);
    part.lse = cut(packed.lse, 6, 1);
    part.dq = cut(packed.dq, 6, 20);
    part.dk = cut(packed.dk, 2, 20);
    part.dv = cut(packed.dv, 2, 20);
    part.d_gate = {packed.d_gate[2 * s], packed.d_gate[2 * s + 1]};
    expect_same_bits(part, run_attention<Storage>(alone));
  }
}
TEST(RoutedAttention, PackedEqualsAloneBitForBit) {
  packed_equals_alone<float>();
  packed_equals_alone<bf16>();
}

TEST(RoutedAttention, PaddingAndEmptySequencesAreZero) {
  AttentionProblem p = problem_of(2, 1, 16, {0, 5, 0}, {2, 1, 1}, Gates::mixed);
  p.padding = 70;
  fill_problem<float>(p, 23);
  const AttentionRun run = run_attention<float>(p);
  const auto zero_from = [](const std::vector<double>& values, size_t begin) {
    return std::all_of(values.begin() + int64_t(begin), values.end(),
                       [](double x) { return x == 0; });
  };
  EXPECT_TRUE(zero_from(run.selected, 5 * 2 * 16));
  EXPECT_TRUE(zero_from(run.other, 5 * 2 * 16));
  EXPECT_TRUE(zero_from(run.lse, 5 * 2));
  EXPECT_TRUE(zero_from(run.dq, 5 * 2 * 16));
  EXPECT_TRUE(zero_from(run.dk, 5 * 16));
  EXPECT_TRUE(zero_from(run.dv, 5 * 16));
  EXPECT_EQ(run.d_gate[0], 0.0);
  EXPECT_EQ(run.d_gate[2], 0.0);

  AttentionProblem nothing = problem_of(2, 1, 16, {}, {2, 1, 1}, Gates::mixed);
  EXPECT_TRUE(run_attention<float>(nothing).selected.empty());
}

TEST(RoutedAttention, ExtremeLogitsStayFinite) {
  for (const Gates gates : {Gates::full, Gates::sparse}) {
    AttentionProblem p = problem_of(2, 1, 16, {200}, {16, 1, 2}, gates);
    fill_problem<float>(p, 24);
    fill_extreme(p);
    const AttentionRun run = run_attention<float>(p);
    const AttentionRun truth = selected_by_gate(p, attention_reference<double, double>(p));
    EXPECT_LE(largest_error(run.selected, truth.selected), 1e-5);
    EXPECT_LE(largest_error(run.other, truth.other), 1e-5);
    EXPECT_LE(largest_error(run.lse, truth.lse), 1e-2);  // of 10^4
    // p = exp(score - lse), whose rounding is that of 10^4 in float: 10^-3 of each term.
    EXPECT_LE(largest_error(run.dv, truth.dv), 2e-2);
    for (const double x : run.dq) ASSERT_TRUE(std::isfinite(x));
    for (const double x : run.dk) ASSERT_TRUE(std::isfinite(x));
  }
}

TEST(RoutedAttention, NotANumberIsNotHidden) {
  AttentionProblem p = problem_of(1, 1, 16, {100}, {16, 1, 2}, Gates::full);
  fill_problem<float>(p, 25);
  p.k[50 * 16 + 3] = std::numeric_limits<double>::quiet_NaN();
  const AttentionRun run = run_attention<float>(p);
  EXPECT_TRUE(std::isfinite(run.selected[49 * 16]));
  EXPECT_TRUE(std::isnan(run.selected[50 * 16]));
  EXPECT_TRUE(std::isnan(run.selected[99 * 16]));
  EXPECT_TRUE(std::isnan(run.dq[99 * 16]));
}

TEST(RoutedAttention, GateGradientAloneIsTheSame) {
  AttentionProblem p = problem_of(4, 2, 32, {130, 40}, {8, 1, 2}, Gates::mixed);
  fill_problem<float>(p, 26);
  CpuDevice device;
  {
    const AttentionTensors<float> tensors(p, device);
    const auto out = ops::routed_attention_forward(tensors.input, Branches::both);
    const auto all = ops::routed_attention_backward(tensors.d_out, tensors.input, out, true, true);
    const auto gate =
        ops::routed_attention_backward(tensors.d_out, tensors.input, out, false, true);
    EXPECT_EQ(widened<float>(all.gate), widened<float>(gate.gate));
    EXPECT_FALSE(gate.q.defined() || gate.k.defined() || gate.v.defined());
  }
}

TEST(RoutedAttention, SteadyStateTakesNoMemoryFromTheSystem) {
  AttentionProblem p = problem_of(4, 2, 32, {300}, {16, 1, 2}, Gates::mixed);
  fill_problem<float>(p, 27);
  CpuDevice device;
  {
    const AttentionTensors<float> tensors(p, device);
    int64_t calls = 0;
    for (int step = 0; step < 4; ++step) {
      const auto out = ops::routed_attention_forward(tensors.input, Branches::both);
      ops::routed_attention_backward(tensors.d_out, tensors.input, out, true, true);
      if (step == 1) calls = device.memory().system_allocations;
    }
    EXPECT_EQ(device.memory().system_allocations, calls);
  }
}

TEST(RoutedAttention, WorkspaceDoesNotGrowWithLength) {
  const auto workspace = [](int32_t length) {
    AttentionProblem p = problem_of(2, 1, 16, {length}, {16, 1, 2}, Gates::sparse);
    fill_problem<float>(p, 28);
    const Threads threads(2);
    CpuDevice device;
    int64_t bytes = 0;
    {
      const AttentionTensors<float> tensors(p, device);
      device.reset_peak();
      const int64_t before = device.memory().in_use_bytes;
      const auto out = ops::routed_attention_forward(tensors.input, Branches::both);
      bytes = device.memory().peak_bytes - before -
              int64_t(out.selected.bytes() + out.other.bytes() + out.lse.bytes());
    }
    return bytes;
  };
  // Outputs are rounded up to size classes of at most 1/8; the rest is the tiles'.
  EXPECT_LE(workspace(256), 2 << 20);
  EXPECT_LE(workspace(2048), 2 << 20);
}

TEST(RoutedAttention, RefusesWhatItCannotDo) {
  const AttentionProblem good = [] {
    AttentionProblem p = problem_of(4, 2, 8, {10}, {2, 1, 1}, Gates::full);
    fill_problem<float>(p, 29);
    return p;
  }();
  CpuDevice device;
  {
    const AttentionTensors<float> tensors(good, device);
    const auto refused = [&](auto&& change) {
      ops::RoutedAttentionInput in = tensors.input;
      change(in);
      EXPECT_THROW(ops::routed_attention_forward(in, Branches::both), LogicError);
    };
    refused([](auto& in) { in.k = in.k.slice(0, 0, 9); });
    refused([](auto& in) { in.q = in.q.slice(1, 0, 3); });
    refused([](auto& in) { in.v = in.v.slice(2, 0, 4); });
    refused([](auto& in) { in.pattern.sparse.rule.local_blocks = 0; });
    refused([](auto& in) { in.pattern.sparse.rule.block = 0; });
    refused([](auto& in) { in.pattern.sparse = ops::KeySet::full(); });
    refused([](auto& in) { in.pattern.retrieval = in.pattern.sparse; });
    refused([](auto& in) { in.softmax_scale = 0; });
    refused([](auto& in) { in.gate = in.gate.slice(1, 0, 1); });
    const std::vector<int32_t> beyond = {0, 11}, backwards = {0, 7, 5}, late = {1, 10};
    for (const auto* cu : {&beyond, &backwards, &late}) {
      refused([&](auto& in) { in.varlen = {*cu}; });
    }
    const auto out = ops::routed_attention_forward(tensors.input, Branches::selected);
    EXPECT_THROW(ops::routed_attention_backward(tensors.d_out, tensors.input, out, true, true),
                 LogicError);  // the gate's gradient needs the other branch
  }
}

}  // namespace
}  // namespace elastron::testing
