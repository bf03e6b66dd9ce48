// The one exception of the runner: an error of spec/errors.json and one sentence for people.
#pragma once
#include <exception>
#include <string>
#include <utility>

#include "error_codes.h"

namespace pockettune {

class Failure : public std::exception {
 public:
  Failure(ErrorCode code, std::string sentence) : code_(code), sentence_(std::move(sentence)) {}
  const char* what() const noexcept override { return sentence_.c_str(); }
  const ErrorCode& code() const { return code_; }
  const std::string& sentence() const { return sentence_; }

 private:
  ErrorCode code_;
  std::string sentence_;
};

}  // namespace pockettune
