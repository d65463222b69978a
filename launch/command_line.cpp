#include "launch/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

namespace elastron::launch::cli {

namespace {

template <class V>
Check check_of(V validator) {
  return Check(std::make_shared<const CLI::Validator>(std::move(validator)));
}

}  // namespace

Check::Check(std::shared_ptr<const CLI::Validator> validator) : validator_(std::move(validator)) {}

Check Range(int low, int high) { return check_of(CLI::Range(low, high)); }
Check Range(int64_t low, int64_t high) { return check_of(CLI::Range(low, high)); }
Check Range(double low, double high) { return check_of(CLI::Range(low, high)); }
Check IsMember(const std::vector<std::string>& words) { return check_of(CLI::IsMember(words)); }
const Check PositiveNumber = check_of(CLI::PositiveNumber);
const Check NonNegativeNumber = check_of(CLI::NonNegativeNumber);
const Check ExistingDirectory = check_of(CLI::ExistingDirectory);

Option* Option::required() {
  option_->required();
  return this;
}
Option* Option::check(const Check& check) {
  option_->check(check.validator());
  return this;
}
Option* Option::needs(const Option* other) {
  option_->needs(other->option_);
  return this;
}
Option* Option::excludes(const Option* other) {
  option_->excludes(other->option_);
  return this;
}
Option* Option::excludes(const std::string& name) {
  option_->excludes(name);
  return this;
}
Option* Option::allow_extra_args(bool value) {
  option_->allow_extra_args(value);
  return this;
}
Option* Option::capture_default_str() {
  option_->capture_default_str();
  return this;
}

App::App(CLI::App* app) : app_(app) {}
App::~App() = default;

App* App::add_subcommand(const std::string& name, const std::string& doc) {
  subcommands_.push_back(std::make_unique<App>(app_->add_subcommand(name, doc)));
  return subcommands_.back().get();
}

template <class T>
Option* App::add_option(const std::string& name, T& value, const std::string& doc) {
  return keep(app_->add_option(name, value, doc));
}

template <class T>
Option* App::add_option_function(const std::string& name, const std::function<void(const T&)>& take,
                                 const std::string& doc) {
  return keep(app_->add_option_function<T>(name, take, doc));
}

Option* App::add_flag(const std::string& name, bool& value, const std::string& doc) {
  return keep(app_->add_flag(name, value, doc));
}

void App::callback(std::function<void()> run) {
  app_->callback([run = std::move(run)] {
    try {
      run();
    } catch (const ValidationError& error) {
      throw CLI::ValidationError(error.what());
    }
  });
}

namespace {

std::vector<std::string> words_of(const std::string& braces) {
  std::vector<std::string> words;
  std::istringstream in(braces);
  for (std::string word; std::getline(in, word, ',');) words.push_back(word);
  return words;
}

OptionText describe(const CLI::Option& option) {
  OptionText text;
  text.by_place = option.get_positional();
  if (text.by_place) text.names.push_back(option.get_name(true));
  for (const std::string& name : option.get_snames()) text.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) text.names.push_back("--" + name);
  text.doc = option.get_description();
  text.required = option.get_required();
  text.repeats = option.get_items_expected_max() > 1 && option.get_allow_extra_args();
  if (option.get_items_expected_max() == 0) return text;
  text.fallback = option.get_default_str();
  // "TEXT:{a,b}", "INT:INT in [1 - 64]", "FLOAT:NONNEGATIVE": the parser's words on a value.
  const std::string kind = option.get_type_name();
  text.kind = kind.substr(0, kind.find(':'));
  if (const auto open = kind.find('{'); open != std::string::npos) {
    text.words = words_of(kind.substr(open + 1, kind.find('}', open) - open - 1));
  } else if (const auto in = kind.find('['); in != std::string::npos) {
    text.limits = kind.substr(in + 1, kind.find(']', in) - in - 1);
  }
  return text;
}

CommandText describe(const CLI::App& app) {
  CommandText text{.name = app.get_name(), .doc = app.get_description()};
  for (const CLI::Option* option : app.get_options()) text.options.push_back(describe(*option));
  std::stable_partition(text.options.begin(), text.options.end(),
                        [](const OptionText& o) { return o.by_place; });
  for (const CLI::App* command : app.get_subcommands({})) {
    text.commands.push_back(describe(*command));
  }
  return text;
}

}  // namespace

CommandText App::describe_program() const {
  const CLI::App* program = app_;
  while (program->get_parent() != nullptr) program = program->get_parent();
  return describe(*program);
}

Option* App::keep(CLI::Option* option) {
  options_.push_back(std::make_unique<Option>(option));
  return options_.back().get();
}

using Name = const std::string&;
template Option* App::add_option(Name, bool&, Name);
template Option* App::add_option(Name, int&, Name);
template Option* App::add_option(Name, int64_t&, Name);
template Option* App::add_option(Name, uint64_t&, Name);
template Option* App::add_option(Name, double&, Name);
template Option* App::add_option(Name, std::string&, Name);
template Option* App::add_option(Name, std::optional<uint64_t>&, Name);
template Option* App::add_option(Name, std::vector<int64_t>&, Name);
template Option* App::add_option(Name, std::vector<std::string>&, Name);
template Option* App::add_option_function<int64_t>(Name, const std::function<void(const int64_t&)>&,
                                                   Name);
template Option* App::add_option_function<std::string>(
    Name, const std::function<void(const std::string&)>&, Name);

}  // namespace elastron::launch::cli
