// Which kernels a GPU of each kind computes attention with, as a table: no GPU is needed.
#include "ops/cuda/attention/kernel_choice.h"

#include <gtest/gtest.h>

#include "tests/support/attention_reference.h"

namespace elastron::ops::cuda {
namespace {

using Kernels = AttentionKernels;
using testing::kFaSsa;
using testing::kFaXa;
using testing::kXaSsa;

constexpr AttentionDevice kAmpere{.capability = 80}, kBlackwell{.capability = 100};
constexpr AttentionDevice kHopper{.capability = 90, .hopper_code = true};
constexpr AttentionDevice kHopperWithoutCode{.capability = 90};
constexpr AttentionDevice kOther{.capability = 100, .hopper_code = true};

struct Row {
  const char* what;
  KernelQuestion q;
  Kernels ampere, hopper, blackwell;
};

KernelQuestion question(DType dtype, AttentionShape shape, KeySetPair sets, int64_t block,
                        bool gradients = false, Kernels allowed = Kernels::hopper) {
  alignas(16) static const char memory[16] = {};
  const HeadsView view{memory, shape.head_dim * 8};
  AttentionArgs args;
  args.shape = shape;
  args.sets = sets;
  args.choice.block = int32_t(block);
  args.kernels = allowed;
  return kernel_question(dtype, args, {view, view, view}, gradients);
}
KernelQuestion shared_mask(AttentionShape shape, int64_t block) {
  KernelQuestion q = question(DType::bf16, shape, kFaXa, block);
  q.tile_heads = heads_of_tile(shape.group(), shape.group());
  return q;
}
KernelQuestion unaligned(KernelQuestion q) {
  q.aligned = false;
  return q;
}

TEST(KernelChoice, Table) {
  const auto bf = DType::bf16;
  const Row rows[] = {
      {"bf16 64", question(bf, {4, 2, 64}, kFaSsa, 0), Kernels::mma, Kernels::hopper, Kernels::mma},
      {"bf16 128", question(bf, {32, 8, 128}, kFaSsa, 0), Kernels::mma, Kernels::hopper,
       Kernels::mma},
      {"bf16 96", question(bf, {4, 2, 96}, kFaSsa, 0), Kernels::mma, Kernels::mma, Kernels::mma},
      {"bf16 80", question(bf, {4, 2, 80}, kFaSsa, 0), Kernels::mma, Kernels::mma, Kernels::mma},
      {"bf16 72", question(bf, {4, 2, 72}, kFaSsa, 0), Kernels::plain, Kernels::plain,
       Kernels::plain},
      {"bf16 144", question(bf, {4, 2, 144}, kFaSsa, 0), Kernels::plain, Kernels::plain,
       Kernels::plain},
      {"float", question(DType::f32, {4, 2, 64}, kFaSsa, 0), Kernels::plain, Kernels::plain,
       Kernels::plain},
      {"three heads side by side", question(bf, {6, 2, 128}, kFaSsa, 0), Kernels::mma,
       Kernels::hopper, Kernels::mma},
      {"gradients of seven", question(bf, {14, 2, 128}, kFaSsa, 0, true), Kernels::mma,
       Kernels::hopper, Kernels::mma},
      {"a mask for three heads at once",
       [&] {
         KernelQuestion q = question(bf, {6, 2, 128}, kFaXa, 128);
         q.tile_heads = 3;
         return q;
       }(),
       Kernels::mma, Kernels::mma, Kernels::mma},
      {"a mask for each head", question(bf, {6, 2, 128}, kFaXa, 128), Kernels::mma, Kernels::hopper,
       Kernels::mma},
      {"apart", question(bf, {6, 2, 64}, kXaSsa, 256), Kernels::mma, Kernels::hopper, Kernels::mma},
      {"blocks of 64", question(bf, {6, 2, 64}, kFaXa, 64), Kernels::mma, Kernels::mma,
       Kernels::mma},
      {"blocks of 192", question(bf, {4, 2, 64}, kXaSsa, 192), Kernels::mma, Kernels::mma,
       Kernels::mma},
      {"a mask for five heads", shared_mask({10, 2, 128}, 128), Kernels::mma, Kernels::hopper,
       Kernels::mma},
      {"a mask for six heads", shared_mask({12, 2, 128}, 128), Kernels::mma, Kernels::hopper,
       Kernels::mma},
      {"unaligned rows", unaligned(question(bf, {4, 2, 64}, kFaSsa, 0)), Kernels::plain,
       Kernels::plain, Kernels::plain},
      {"128 heads side by side", question(bf, {128, 1, 64}, kFaSsa, 0), Kernels::mma,
       Kernels::hopper, Kernels::mma},
      {"their gradients", question(bf, {128, 1, 64}, kFaSsa, 0, true), Kernels::mma, Kernels::mma,
       Kernels::mma},
      {"gradients", question(bf, {64, 1, 64}, kFaSsa, 0, true), Kernels::mma, Kernels::hopper,
       Kernels::mma},
      {"mma at most", question(bf, {4, 2, 64}, kFaSsa, 0, false, Kernels::mma), Kernels::mma,
       Kernels::mma, Kernels::mma},
      {"plain", question(bf, {4, 2, 64}, kFaSsa, 0, true, Kernels::plain), Kernels::plain,
       Kernels::plain, Kernels::plain},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    EXPECT_EQ(choose_kernels(row.q, kAmpere), row.ampere);
    EXPECT_EQ(choose_kernels(row.q, kHopper), row.hopper);
    EXPECT_EQ(choose_kernels(row.q, kBlackwell), row.blackwell);
    // Code of sm_90a runs on 9.x alone, and where it is missing the ones before it do the work.
    EXPECT_EQ(choose_kernels(row.q, kHopperWithoutCode), row.ampere);
    EXPECT_EQ(choose_kernels(row.q, kOther), row.blackwell);
  }
}

// What a device must not use leaves the next slower kernels, forward and backward apart.
TEST(KernelChoice, ForbiddenFamilies) {
  const auto chosen = [](std::initializer_list<KernelFamily> forbidden, bool gradients) {
    KernelQuestion q = question(DType::bf16, {4, 2, 64}, kFaSsa, 0, gradients);
    for (const KernelFamily f : forbidden) q.forbidden.add(f);
    return choose_kernels(q, kHopper);
  };
  using F = KernelFamily;
  EXPECT_EQ(chosen({F::hopper_forward}, false), Kernels::mma);
  EXPECT_EQ(chosen({F::hopper_forward}, true), Kernels::hopper);
  EXPECT_EQ(chosen({F::hopper_gradients}, false), Kernels::hopper);
  EXPECT_EQ(chosen({F::hopper_gradients}, true), Kernels::mma);
  EXPECT_EQ(chosen({F::mma_forward}, false), Kernels::hopper);
  EXPECT_EQ(chosen({F::hopper_forward, F::mma_forward}, false), Kernels::plain);
  EXPECT_EQ(chosen({F::hopper_gradients, F::mma_gradients}, true), Kernels::plain);
  EXPECT_EQ(chosen({F::library_forward, F::mma_scores, F::tuned_products}, false), Kernels::hopper);
}

TEST(KernelChoice, RowsAreAlignedOrNot) {
  alignas(16) static const char memory[32] = {};
  const HeadsView good{memory, 64}, narrow{memory, 68}, shifted{memory + 8, 64};
  EXPECT_TRUE(aligned_rows({good, good}));
  EXPECT_FALSE(aligned_rows({good, narrow}));
  EXPECT_FALSE(aligned_rows({shifted, good}));
}

TEST(KernelChoice, FullAttentionOfALibrary) {
  const LibraryQuestion good{.shape = {32, 8, 128}, .sets = kFaSsa, .longest = kLeastForLibrary};
  EXPECT_TRUE(library_wanted(good));
  const auto with = [&](auto&& change) {
    LibraryQuestion q = good;
    change(q);
    return library_wanted(q);
  };
  EXPECT_TRUE(with([](auto& q) { q.sets = kFaXa; }));
  EXPECT_FALSE(with([](auto& q) { q.sets = kXaSsa; })) << "no branch is full";
  EXPECT_FALSE(with([](auto& q) { q.longest -= 1; }));
  EXPECT_TRUE(with([](auto& q) { q.longest = 1, q.full_by = FullAttentionBy::cudnn; }));
  EXPECT_FALSE(with([](auto& q) { q.full_by = FullAttentionBy::own; }));
  EXPECT_FALSE(with([](auto& q) { q.aligned = false; }));
  EXPECT_FALSE(with([](auto& q) { q.dtype = DType::f32; }));
  EXPECT_TRUE(with([](auto& q) { q.shape.head_dim = 72; }));
  EXPECT_FALSE(with([](auto& q) { q.shape.head_dim = 68; }));
  EXPECT_FALSE(with([](auto& q) { q.shape.head_dim = 256; }));
  EXPECT_FALSE(with([](auto& q) { q.forbidden.add(KernelFamily::library_forward); }));
  EXPECT_TRUE(with([](auto& q) { q.forbidden.add(KernelFamily::library_gradients); }));
  EXPECT_FALSE(with([](auto& q) {
    q.forbidden.add(KernelFamily::library_gradients);
    q.gradients = true;
  }));
}

TEST(KernelChoice, ScoresOfXAttention) {
  EXPECT_TRUE(mma_scores(DType::bf16, 128, 8, true));
  EXPECT_FALSE(mma_scores(DType::f32, 128, 8, true));
  EXPECT_FALSE(mma_scores(DType::bf16, 100, 8, true));
  EXPECT_FALSE(mma_scores(DType::bf16, 128, 12, true)) << "a block goes over 64 groups";
  EXPECT_FALSE(mma_scores(DType::bf16, 128, 8, false));
  KernelFamilies forbidden;
  forbidden.add(KernelFamily::mma_scores);
  EXPECT_FALSE(mma_scores(DType::bf16, 128, 8, true, forbidden));
}

}  // namespace
}  // namespace elastron::ops::cuda
