// Typed access to a config.json: every fault names the key and the file.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/json.h"

namespace elastron::model {

// What is wrong with a config, in parts too, for those who say it with another place.
struct ConfigFault : InputError {
  ConfigFault(std::string what, const std::string& where, std::string todo)
      : InputError(what, where, todo), fault(std::move(what)), advice(std::move(todo)) {}
  std::string fault, advice;
};

class ConfigReader {
 public:
  // Both must outlive the reader. `inside`: the key of the object that is read, if it is not the
  // whole file; messages name it.
  ConfigReader(const nlohmann::json& object, const std::string& where, std::string inside = "")
      : object_(object), where_(where), inside_(std::move(inside)) {}

  // Throws a ConfigFault, as everything below does.
  [[noreturn]] void fail(const std::string& what, const std::string& todo) const;

  const nlohmann::json& object() const { return object_; }
  const std::string& where() const { return where_; }
  // The key in quotes, with the object that it stands in: "'factor' of 'rope_scaling'".
  std::string named(const std::string& key) const;

  // Whether it is there and not null.
  bool has(const std::string& key) const;
  // Fails where it is there and null: no value, where only leaving it out means the usual one.
  void refuse_null(const char* key) const;
  const nlohmann::json& at(const std::string& key) const { return object_.at(key); }
  // `missing`: the value where it is not there; without one that is an error.
  int64_t integer(const char* key, int64_t least, int64_t most,
                  std::optional<int64_t> missing = {}) const;
  int64_t whole_number(const nlohmann::json& value, const char* key, int64_t least,
                       int64_t most) const;
  // Greater than 0.
  double number(const char* key, std::optional<double> missing = {}) const;
  bool boolean(const char* key, bool missing) const;
  std::string text(const char* key, const char* missing) const;

 private:
  const nlohmann::json& object_;
  const std::string& where_;
  std::string inside_;
};

// A value or a name from a file, fit for one line of a message.
std::string shown(const nlohmann::json& value);

}  // namespace elastron::model
