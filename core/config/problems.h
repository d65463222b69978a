// Gathers everything that is wrong with a configuration before anything is thrown.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::config {

// Where each value came from: "configs/x.yaml:12", "--set train.steps=5" or "default".
class Origins {
 public:
  void set(const std::string& key, std::string origin) { origins_[key] = std::move(origin); }
  std::string of(std::string_view key) const;
  bool knows(std::string_view key) const { return origins_.find(key) != origins_.end(); }

 private:
  std::map<std::string, std::string, std::less<>> origins_;
};

class Problems {
 public:
  Problems() = default;
  // For a nested check: keys are given relative to `prefix` ("train.").
  Problems(std::string prefix, const Origins& origins)
      : prefix_(std::move(prefix)), origins_(&origins) {}

  // For Schema<T>::check: `key` as in T's table, e.g. add("keep", "keep is 1 but ...", "write 2").
  void add(std::string_view key, const std::string& what, const std::string& todo);
  // For readers, which know the place themselves. `key` is complete; "" for a whole file.
  void add_at(const std::string& where, std::string_view key, const std::string& what,
              const std::string& todo);
  void append(const Problems& other);
  // Whether anything is wrong with `section` or below it ("" is all).
  bool touch(std::string_view section) const;

  bool empty() const { return list_.empty(); }
  // Whether there are so many that further ones are counted only: advice is not worth its cost.
  bool enough() const { return list_.size() >= kMostReported; }
  size_t size() const { return list_.size(); }
  // Throws one UsageError, unless empty. Its text has one line per problem, in the order found:
  // "<what> (<where>): <what to do>".
  void raise() const;

 private:
  static constexpr size_t kMostReported = 20;
  struct Problem {
    std::string key, what, where, todo;
  };
  std::string prefix_;
  const Origins* origins_ = nullptr;
  std::vector<Problem> list_;
};

// For messages: quotes, no control characters, at most 60 bytes. One error stays one line.
std::string in_quotes(std::string_view text);

}  // namespace elastron::config
