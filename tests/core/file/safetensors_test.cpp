// How a part of a stored tensor is read: in slices between which the caller hears of progress, and
// nothing that the part does not need.
#include "core/file/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

#include "core/device.h"
#include "tests/core/file/counted_io.h"
#include "tests/support/scratch.h"

namespace elastron {
namespace {

constexpr uint64_t kMiB = uint64_t(1) << 20;

class SlicesOfSafetensors : public ::testing::Test {
 protected:
  // The part `partition` of a tensor of `shape`, as `dtype` -> how often the reader was told of
  // progress.
  int64_t read(const Shape& shape, const Partition& partition, DType dtype) {
    const std::string path = scratch_ / "weights";
    Tensor stored = Tensor::empty(shape, DType::f32, host_device());
    float* values = stored.data<float>();
    for (int64_t i = 0; i < stored.numel(); ++i) values[i] = float(i % 1021);
    write_safetensors(path, {{"w", stored}});
    const SafetensorsFile file(path);
    Tensor part = Tensor::empty(local_shape(shape, partition), dtype, host_device());
    int64_t slices = 0;
    io_ = {};
    file.read("w", shape, partition, part, [&] {
      ++slices;
      most_between_ = std::max(most_between_, io_.read - heard_);
      heard_ = io_.read;
    });
    heard_ = 0;
    check(part, shape, partition);
    return slices;
  }
  static void check(const Tensor& part, const Shape& shape, const Partition& partition) {
    if (part.dtype() != DType::f32) return;
    const int dim = partition.replicated() ? 0 : partition.dim;
    const int64_t width = shape[1], rows = part.size(0), columns = part.size(1);
    const int64_t row = dim == 0 && !partition.replicated() ? partition.offset : 0;
    const int64_t column = dim == 1 ? partition.offset : 0;
    for (int64_t r = 0; r < rows; r += 7) {
      for (int64_t c = 0; c < columns; c += 113) {
        ASSERT_EQ(part.data<float>()[r * columns + c],
                  float(((row + r) * width + column + c) % 1021));
      }
    }
  }
  test::Scratch scratch_;
  test::IoCounts& io_ = test::io_counts();
  uint64_t heard_ = 0, most_between_ = 0;
};

TEST_F(SlicesOfSafetensors, AWholeTensorInPiecesOf16MiB) {
  const Shape shape{10240, 1024};  // 40 MiB
  EXPECT_EQ(read(shape, {}, DType::f32), 3);
  EXPECT_EQ(io_.read, 40 * kMiB);
  EXPECT_EQ(io_.largest_read, kSlice);
  EXPECT_EQ(most_between_, kSlice);
}

TEST_F(SlicesOfSafetensors, ConversionHearsOfEachBuffer) {
  EXPECT_GE(read({10240, 1024}, {}, DType::bf16), 10);
  EXPECT_EQ(io_.read, 40 * kMiB);
  EXPECT_LE(most_between_, 4 * kMiB);
}

TEST_F(SlicesOfSafetensors, RowsOfOneRankAloneAreRead) {
  Partition rows{.dim = 0, .offset = 2560, .size = 2560};
  EXPECT_EQ(read({10240, 1024}, rows, DType::f32), 1);
  EXPECT_EQ(io_.read, 10 * kMiB);
}

TEST_F(SlicesOfSafetensors, WideGapsAreLeftOut) {
  // A row is 160 KiB, of which a part has 40: the gap is not read.
  Partition columns{.dim = 1, .offset = 10240, .size = 10240};
  read({64, 40960}, columns, DType::f32);
  EXPECT_EQ(io_.read, 64 * 40 * 1024u);
  // Of 16 KiB it has 4: one read takes many rows.
  Partition narrow{.dim = 1, .offset = 1024, .size = 1024};
  EXPECT_LE(read({2048, 4096}, narrow, DType::f32), 9);
}

// Each value by the scale of its block of the whole tensor, whichever part is read, in however many
// pieces.
TEST_F(SlicesOfSafetensors, OfAQuantisedTensor) {
  const Shape shape{700, 1900};
  const int64_t out_block = 130, in_block = 77;
  const WeightScale scale{
      Tensor::empty(WeightScale::shape(700, 1900, out_block, in_block), DType::f32, host_device()),
      out_block, in_block};
  for (int64_t i = 0; i < scale.values.numel(); ++i) {
    scale.values.data<float>()[i] = std::ldexp(1.0f, int(i % 9) - 4);
  }
  Tensor stored = Tensor::empty(shape, DType::f32, host_device());
  for (int64_t i = 0; i < stored.numel(); ++i) stored.data<float>()[i] = float(i % 1021);
  const std::string path = scratch_ / "weights";
  write_safetensors(path, {{"w", stored}});
  const SafetensorsFile file(path);
  for (const Partition& p :
       {Partition{}, Partition{0, 350, 349}, Partition{1, 1, 800}, Partition{1, 950, 950}}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      Tensor part = Tensor::empty(local_shape(shape, p), dtype, host_device());
      file.read("w", shape, p, part, {}, scale);
      const int64_t columns = part.size(1);
      const int64_t row = p.dim == 0 ? p.offset : 0, column = p.dim == 1 ? p.offset : 0;
      for (int64_t i = 0; i < part.numel(); ++i) {
        const int64_t r = row + i / columns, c = column + i % columns;
        const float want =
            float((r * 1900 + c) % 1021) *
            scale.values.data<float>()[r / out_block * scale.values.size(1) + c / in_block];
        ASSERT_EQ(dtype == DType::f32 ? double(part.data<float>()[i]) : part.data<double>()[i],
                  want)
            << r << ", " << c;
      }
    }
  }
}

}  // namespace
}  // namespace elastron
