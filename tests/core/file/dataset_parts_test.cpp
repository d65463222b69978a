#include "core/file/dataset_parts.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "tests/core/file/counted_io.h"
#include "tests/support/scratch.h"

namespace elastron {
namespace {

class DatasetPartsTest : public ::testing::Test {
 protected:
  void make(const std::vector<Hdf5Dataset>& datasets) {
    Hdf5File file = Hdf5File::create(path_);
    for (const Hdf5Dataset& d : datasets) file.make_dataset(d);
    file.close();
  }
  std::vector<float> read(const std::string& name, const Shape& shape) {
    const Hdf5File file = Hdf5File::open(path_, false);
    Tensor t = Tensor::empty(shape, DType::f32, device_);
    file.read(name, t, std::vector<int64_t>(size_t(shape.rank()), 0));
    return t.to_vector<float>();
  }

  CpuDevice device_;
  const test::Scratch folder_;
  const std::string path_ = folder_ / "x.h5";
};

// Every way of cutting a dataset into two parts along one dim gives the whole, read by HDF5.
TEST_F(DatasetPartsTest, PartsMakeTheWhole) {
  for (const Shape& shape : {Shape{7}, Shape{4, 6}, Shape{3, 4, 5}, Shape{1, 5, 1}}) {
    std::vector<float> values(size_t(shape.numel()));
    std::iota(values.begin(), values.end(), 1.0f);
    const Tensor whole = Tensor::from(values, shape, device_);
    for (int dim = 0; dim < shape.rank(); ++dim) {
      for (int64_t cut = 0; cut <= shape[dim]; ++cut) {
        make({{"/a/b", DType::f32, shape}, {"/other", DType::i64, {3}}});
        DatasetParts first(path_), second(path_);
        std::vector<int64_t> offset(size_t(shape.rank()), 0);
        first.write("/a/b", whole.slice(dim, 0, cut).clone(), offset);
        offset[size_t(dim)] = cut;
        second.write("/a/b", whole.slice(dim, cut, shape[dim]).clone(), offset);
        second.write("/other", Tensor::from(std::vector<int64_t>{1, 2, 3}, {3}, device_), {0});
        first.close();
        second.close();
        EXPECT_EQ(read("/a/b", shape), values) << shape.str() << " " << dim << " " << cut;
      }
    }
  }
}

TEST_F(DatasetPartsTest, PartsThatDoNotFitAreMistakes) {
  make({{"/a", DType::f32, {4, 2}}});
  DatasetParts file(path_);
  const Tensor part = Tensor::zeros({2, 2}, DType::f32, device_);
  EXPECT_THROW(file.write("/b", part, {0, 0}), LogicError);
  EXPECT_THROW(file.write("/a", part, {3, 0}), LogicError);
  EXPECT_THROW(file.write("/a", part, {-1, 0}), LogicError);
  EXPECT_THROW(file.write("/a", part, {0}), LogicError);
  EXPECT_THROW(file.write("/a", Tensor::zeros({2, 2}, DType::f64, device_), {0, 0}), LogicError);
  file.write("/a", part, {2, 0});
  file.close();
}

class SlicesOfDatasets : public DatasetPartsTest {
 protected:
  // 80 MiB, of which a part has other columns than the other.
  static constexpr int64_t kRows = 20480, kColumns = 1024;
  SlicesOfDatasets() {
    make({{"/w", DType::f32, {kRows, kColumns}}, {"/small", DType::f32, {2}}});
    io_ = {};
  }
  Tensor values(int64_t columns) {
    Tensor t = Tensor::empty({kRows, columns}, DType::f32, device_);
    float* x = t.data<float>();
    for (int64_t i = 0; i < t.numel(); ++i) x[i] = float(i % 1021);
    return t;
  }
  // Is told of progress; `bytes` so far.
  OnSlice hear(const uint64_t& bytes) {
    return [this, &bytes] {
      ++slices_;
      most_between_ = std::max(most_between_, bytes - heard_);
      heard_ = bytes;
    };
  }
  test::IoCounts& io_ = test::io_counts();
  int slices_ = 0;
  uint64_t heard_ = 0, most_between_ = 0;
};

TEST_F(SlicesOfDatasets, AreWrittenReadAndOnTheDisk) {
  const Tensor whole = values(kColumns);
  DatasetParts file(path_);
  io_ = {};
  file.write("/w", whole, {0, 0}, hear(io_.written));
  EXPECT_EQ(io_.written, whole.bytes());
  EXPECT_EQ(slices_, 5 + 1);
  EXPECT_EQ(most_between_, kSlice);
  // All but what may still be on its way.
  EXPECT_EQ(io_.waited_for, whole.bytes() - kSlice);
  file.close();

  const Hdf5File stored = Hdf5File::open(path_, false);
  Tensor read = Tensor::empty(whole.shape(), DType::f32, device_);
  io_ = {};
  slices_ = 0;
  heard_ = most_between_ = 0;
  stored.read("/w", read, {0, 0}, hear(io_.read));
  EXPECT_EQ(slices_, 5);
  EXPECT_LT(most_between_, kSlice + 65536) << "and the library's own";
  EXPECT_EQ(read.to_vector<float>(), whole.to_vector<float>());
}

// A part of all rows is many short writes: they make slices together, and a small tensor is one.
TEST_F(SlicesOfDatasets, ShortWritesMakeASlice) {
  DatasetParts file(path_);
  io_ = {};
  file.write("/w", values(kColumns / 2), {0, kColumns / 2}, hear(io_.written));
  EXPECT_EQ(io_.written, uint64_t(kRows * kColumns / 2 * 4));
  EXPECT_EQ(slices_, 2 + 1);
  EXPECT_EQ(most_between_, kSlice);
  file.write("/small", Tensor::zeros({2}, DType::f32, device_), {0}, hear(io_.written));
  EXPECT_EQ(slices_, 4);
  file.close();
}

TEST_F(SlicesOfDatasets, ADiskThatFailsMeanwhileIsAnError) {
  DatasetParts file(path_);
  io_.disk_fails = true;
  EXPECT_THROW(file.write("/w", values(kColumns), {0, 0}), Error);
  io_.disk_fails = false;
}

TEST_F(DatasetPartsTest, AMissingFileIsAnErrorOfCheckpoints) {
  EXPECT_THROW(DatasetParts(folder_ / "none.h5"), Error);
}

}  // namespace
}  // namespace elastron
