// Structs whose members are all doubles, as numbers that micro batches and ranks can add up. Nobody
// counts the members by hand: a new one takes part in every reduction.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

namespace elastron::train {

namespace detail {
template <class T, size_t... I>
constexpr bool takes_doubles(std::index_sequence<I...>) {
  // A member of another type would narrow.
  return requires(double d) { T{(static_cast<void>(I), d)...}; };
}
}  // namespace detail

template <class T>
concept Sums = std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(double) == 0 &&
               detail::takes_doubles<T>(std::make_index_sequence<sizeof(T) / sizeof(double)>());

template <Sums T>
inline constexpr size_t kNumbers = sizeof(T) / sizeof(double);

// The members in their order.
template <Sums T>
std::array<double, kNumbers<T>> numbers(const T& sums) {
  return std::bit_cast<std::array<double, kNumbers<T>>>(sums);
}

// The inverse, of the first kNumbers<T> of `numbers`.
template <Sums T>
T from_numbers(std::span<const double> numbers) {
  std::array<double, kNumbers<T>> own;
  std::copy_n(numbers.begin(), own.size(), own.begin());
  return std::bit_cast<T>(own);
}

template <Sums T>
void add(T& to, const T& from) {
  auto sum = numbers(to);
  const auto more = numbers(from);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
  to = std::bit_cast<T>(sum);
}

template <Sums T>
T divided(const T& sums, double by) {
  auto all = numbers(sums);
  for (double& v : all) v /= by;
  return std::bit_cast<T>(all);
}

}  // namespace elastron::train
