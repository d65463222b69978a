#include "core/device.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "core/error.h"

// The address sanitizer would otherwise end the program at the impossible request below.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

namespace elastron {
namespace {

TEST(CpuDevice, SizeClasses) {
  size_t before = 0;
  for (size_t n = 0; n < 100000; n += 1 + n / 50) {
    const size_t size = CpuDevice::size_class(n);
    EXPECT_GE(size, n);
    EXPECT_GE(size, size_t(64));
    EXPECT_EQ(size % 64, 0u);
    EXPECT_GE(size, before);
    EXPECT_LT(size - n, std::max<size_t>(n / 8 + 1, 65));
    EXPECT_EQ(CpuDevice::size_class(size), size) << "a class serves itself";
    before = size;
  }
}

TEST(CpuDevice, ReusesBlocks) {
  CpuDevice device;
  void* a = device.allocate(1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % 64, 0u);
  device.release(a, 1000);
  void* b = device.allocate(1010);  // same class
  EXPECT_EQ(a, b);
  EXPECT_EQ(device.memory().system_allocations, 1);
  void* c = device.allocate(1000);  // the first is in use
  EXPECT_NE(b, c);
  EXPECT_EQ(device.memory().system_allocations, 2);
  device.release(b, 1010);
  device.release(c, 1000);
}

TEST(CpuDevice, Statistics) {
  CpuDevice device;
  void* a = device.allocate(64);
  void* b = device.allocate(128);
  EXPECT_EQ(device.memory().in_use_bytes, 192);
  device.release(b, 128);
  EXPECT_EQ(device.memory().in_use_bytes, 64);
  EXPECT_EQ(device.memory().peak_bytes, 192);
  EXPECT_EQ(device.memory().reserved_bytes, 192);
  device.reset_peak();
  EXPECT_EQ(device.memory().peak_bytes, 64);
  device.release(a, 64);
}

TEST(CpuDevice, OutOfMemoryIsAnErrorForPeople) {
  CpuDevice device;
  device.set_advice_when_full("do something");
  void* held = device.allocate(256);
  try {
    device.allocate(size_t(1) << 60);
    FAIL() << "2^60 bytes were found";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("1152921504606846976 bytes asked"), std::string::npos) << text;
    EXPECT_NE(text.find("256 bytes held"), std::string::npos) << text;
    EXPECT_TRUE(text.ends_with("(device cpu): do something")) << text;
  }
  // Still usable.
  void* more = device.allocate(512);
  device.release(more, 512);
  device.release(held, 256);
}

TEST(CpuDevice, CopiesAndFills) {
  CpuDevice device;
  const std::vector<int> values = {1, 2, 3, 4};
  const size_t bytes = values.size() * sizeof(int);
  void* a = device.allocate(bytes);
  void* b = device.allocate(bytes);
  device.copy_from_host(a, values.data(), bytes);
  device.copy(b, a, bytes);
  device.fill_zero(a, bytes);
  std::vector<int> from_a(4, -1);
  std::vector<int> from_b(4, -1);
  device.copy_to_host(from_a.data(), a, bytes);
  device.copy_to_host(from_b.data(), b, bytes);
  EXPECT_EQ(from_a, std::vector<int>(4, 0));
  EXPECT_EQ(from_b, values);
  device.release(a, bytes);
  device.release(b, bytes);
}

TEST(CpuDevice, ThreadSafe) {
  CpuDevice device;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&device, t] {
      for (int i = 0; i < 500; ++i) {
        const size_t bytes = size_t(64 + 64 * ((i + t) % 5));
        void* block = device.allocate(bytes);
        std::memset(block, t, bytes);
        for (size_t k = 0; k < bytes; ++k) ASSERT_EQ(static_cast<char*>(block)[k], char(t));
        device.release(block, bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(device.memory().in_use_bytes, 0);
}

struct Counted {
  Counted() { ++alive; }
  ~Counted() { --alive; }
  static inline int alive = 0;
  int value = 0;
};
struct Other {
  int value = 7;
};

TEST(CpuDevice, KeepsWhatIsAttached) {
  {
    CpuDevice one, two;
    EXPECT_EQ(Counted::alive, 0) << "nothing is made before it is asked for";
    one.attached<Counted>().value = 5;
    EXPECT_EQ(one.attached<Counted>().value, 5);
    EXPECT_EQ(two.attached<Counted>().value, 0) << "each device has its own";
    EXPECT_EQ(one.attached<Other>().value, 7);
    EXPECT_EQ(Counted::alive, 2);
  }
  EXPECT_EQ(Counted::alive, 0);
}

}  // namespace
}  // namespace elastron
