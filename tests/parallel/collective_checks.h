// Every operation of a communicator, on tensors of any device: expectations come from the group
// size. Collective over the group.
#pragma once
#include "tests/parallel/support.h"

namespace elastron::parallel {

// Rank r's value at element i, exact in every type and under summation.
inline double element(int rank, int64_t i) { return double((rank + 1) * 3 + (i * 7) % 11 - 5); }

template <class T>
std::vector<T> rank_values(int rank, int64_t count) {
  std::vector<T> values;
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<T, bf16>) {
      values.push_back(T(float(element(rank, i))));
    } else {
      values.push_back(T(element(rank, i)));
    }
  }
  return values;
}

template <class T>
void check_all(Communicator& group, Device& device, int64_t count) {
  SCOPED_TRACE(std::string(dtype_name(dtype_of<T>)) + " x " + std::to_string(count));
  const int n = group.size(), me = group.rank();
  const Tensor mine = Tensor::from(rank_values<T>(me, count), {count}, device);
  const auto number = [](T value) { return double(value); };

  if constexpr (!std::is_same_v<T, uint8_t>) {
    Tensor sum = mine.clone(), max = mine.clone(), min = mine.clone();
    {
      Pending first = group.all_reduce(sum, ReduceOp::sum);
      Pending second = group.all_reduce(max, ReduceOp::max);
      group.all_reduce(min, ReduceOp::min).wait();  // out of order on purpose
      second.wait();
      first.wait();
    }
    for (int64_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < n; ++r) expected += element(r, i);
      ASSERT_EQ(number(sum.to_vector<T>()[size_t(i)]), expected) << i;
      ASSERT_EQ(number(max.to_vector<T>()[size_t(i)]), element(n - 1, i)) << i;
      ASSERT_EQ(number(min.to_vector<T>()[size_t(i)]), element(0, i)) << i;
    }
    std::vector<T> parts;
    for (int r = 0; r < n; ++r) {
      for (int64_t i = 0; i < count; ++i) {
        const double value = element(me, i) + r;
        if constexpr (std::is_same_v<T, bf16>) {
          parts.push_back(T(float(value)));
        } else {
          parts.push_back(T(value));
        }
      }
    }
    Tensor out = Tensor::zeros({count}, dtype_of<T>, device);
    group.reduce_scatter(Tensor::from(parts, {n * count}, device), out).wait();
    const auto scattered = out.to_vector<T>();
    for (int64_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < n; ++r) expected += element(r, i) + me;
      ASSERT_EQ(number(scattered[size_t(i)]), expected) << i;
    }
  }

  Tensor all = Tensor::zeros({n * count}, dtype_of<T>, device);
  group.all_gather(mine, all).wait();
  std::vector<T> expected;
  for (int r = 0; r < n; ++r) {
    const auto part = rank_values<T>(r, count);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  EXPECT_TRUE(holds(all, expected)) << "all_gather";

  // In place: this rank's part already lies in the output.
  Tensor in_place = Tensor::zeros({n * count}, dtype_of<T>, device);
  Tensor part = in_place.slice(0, me * count, (me + 1) * count);
  part.copy_from(mine);
  group.all_gather(part, in_place).wait();
  EXPECT_TRUE(holds(in_place, expected)) << "in place";

  // What rank r sends to rank s is element(r + s): the exchange is symmetric in r and s.
  std::vector<T> send;
  for (int s = 0; s < n; ++s) {
    const auto to = rank_values<T>(me + 2 * s, count);
    send.insert(send.end(), to.begin(), to.end());
  }
  Tensor received = Tensor::zeros({n * count}, dtype_of<T>, device);
  group.all_to_all(Tensor::from(send, {n * count}, device), received).wait();
  expected.clear();
  for (int r = 0; r < n; ++r) {
    const auto from = rank_values<T>(r + 2 * me, count);
    expected.insert(expected.end(), from.begin(), from.end());
  }
  EXPECT_TRUE(holds(received, expected)) << "all_to_all";

  for (int root = 0; root < n; ++root) {
    Tensor t = mine.clone();
    group.broadcast(t, root).wait();
    const auto wanted = rank_values<T>(root, count);
    EXPECT_TRUE(holds(t, wanted)) << "broadcast " << root;
  }
}

template <class T>
void check_dtype(Communicator& group, Device& device) {
  for (const int64_t count : {0, 1, 7, 1000}) check_all<T>(group, device, count);
}

inline void check_dtypes(Communicator& group, Device& device) {
  check_dtype<double>(group, device);
  check_dtype<float>(group, device);
  check_dtype<bf16>(group, device);
  check_dtype<int64_t>(group, device);
  check_dtype<int32_t>(group, device);
  check_dtype<uint8_t>(group, device);
}

// Sizes on both sides of the libraries' switches between algorithms.
inline void check_sums_are_the_same_bits(Communicator& group, Device& device) {
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (const int64_t count : {1, 3, 64, 1000, 5003, 70001, 1 << 20}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " x " + std::to_string(count));
      const Tensor mine = random_tensor({count}, dtype, uint64_t(1000 + group.rank()), device);
      Tensor sum = mine.clone();
      group.all_reduce(sum, ReduceOp::sum).wait();
      const Tensor first = sum.on_host();
      expect_same_bits(first, group);
      for (int repeat = 0; repeat < 3; ++repeat) {
        Tensor again = mine.clone();
        group.all_reduce(again, ReduceOp::sum).wait();
        EXPECT_EQ(std::memcmp(first.raw(), again.on_host().raw(), first.bytes()), 0);
      }
    }
  }
}

inline void check_bfloat16_is_summed_in_float32(Communicator& group, Device& device) {
  // 256 + 1 is not a bfloat16: adding in bfloat16 would lose every 1.
  const float value = group.rank() == 0 ? 256.0f : 1.0f;
  const bf16 expected(256.0f + float(group.size() - 1));
  Tensor t = Tensor::from(std::vector<bf16>{bf16(value)}, {1}, device);
  group.all_reduce(t, ReduceOp::sum).wait();
  EXPECT_EQ(t.to_vector<bf16>()[0].bits, expected.bits);
  Tensor whole =
      Tensor::from(std::vector<bf16>(size_t(group.size()), bf16(value)), {group.size()}, device);
  group.reduce_scatter(whole, t).wait();
  EXPECT_EQ(t.to_vector<bf16>()[0].bits, expected.bits);
}

inline void check_the_pending_keeps_its_buffers(Communicator& group, Device& device) {
  Tensor all = Tensor::zeros({group.size() * 100000}, DType::f32, device);
  const auto start = [&] {
    const Tensor mine = random_tensor({100000}, DType::f32, uint64_t(group.rank()), device);
    return group.all_gather(mine, all);
  };
  Pending pending = start();
  // Had the input gone back to the allocator, this would be it.
  const Tensor reuse = Tensor::zeros({100000}, DType::f32, device);
  pending.wait();
  for (int r = 0; r < group.size(); ++r) {
    const Tensor expected = random_tensor({100000}, DType::f32, uint64_t(r), device);
    EXPECT_EQ(all.slice(0, r * 100000, (r + 1) * 100000).to_vector<float>(),
              expected.to_vector<float>());
  }
}

}  // namespace elastron::parallel
