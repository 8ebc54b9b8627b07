{{- define "headrace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "headrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The pod of `helm test`: a label of its own, at most 63 characters long. */}}
{{- define "headrace.testName" -}}
{{- include "headrace.name" . | trunc 58 | trimSuffix "-" -}}-test
{{- end -}}

{{- define "headrace.selectorLabels" -}}
app.kubernetes.io/name: {{ include "headrace.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "headrace.labels" -}}
{{ include "headrace.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{- define "headrace.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "headrace.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "headrace.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "headrace.secretName" -}}
{{- if .Values.secrets.existingSecret -}}
{{ .Values.secrets.existingSecret }}
{{- else if .Values.secrets.files -}}
{{ include "headrace.fullname" . }}
{{- end -}}
{{- end -}}

{{- define "headrace.adminPort" -}}
{{- dig "admin" "port" 8081 .Values.config | int -}}
{{- end -}}

{{- define "headrace.serverPort" -}}
{{- dig "server" "port" 8080 .Values.config | int -}}
{{- end -}}

{{/* "true" when clients can prove who they are, or need not: only then the port leaves the pod. */}}
{{- define "headrace.admitsClients" -}}
{{- $server := .Values.config.server | default dict -}}
{{- if or $server.tokens_file $server.jwt $server.anonymous -}}true{{- end -}}
{{- end -}}

{{- define "headrace.serverHost" -}}
{{- $ours := ternary "0.0.0.0" "127.0.0.1" (eq "true" (include "headrace.admitsClients" .)) -}}
{{- dig "server" "host" $ours .Values.config -}}
{{- end -}}

{{/* "true" when the public port is open beyond the pod. */}}
{{- define "headrace.public" -}}
{{- $host := include "headrace.serverHost" . -}}
{{- if not (or (hasPrefix "127." $host) (has $host (list "localhost" "::1"))) -}}true{{- end -}}
{{- end -}}

{{/* From SIGTERM to SIGKILL, in seconds. */}}
{{- define "headrace.gracePeriod" -}}
{{- if .Values.terminationGracePeriodSeconds -}}
{{- sub (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSleepSeconds) -}}
{{- else if .Values.config.grace_period_s -}}
{{- ceil .Values.config.grace_period_s -}}
{{- else -}}
{{- ceil (addf (include "headrace.stopNeeds" .) 5) -}}
{{- end -}}
{{- end -}}

{{/* What the service needs of it: the drain, then 5 s to commit, 5 s to flush, 3 s to leave. */}}
{{- define "headrace.stopNeeds" -}}
{{- addf (.Values.config.drain_timeout_s | default 25) 13 -}}
{{- end -}}

{{/* "true" when keyed state goes to disk and nobody has said where: then the chart has a place. */}}
{{- define "headrace.stateVolume" -}}
{{- $state := .Values.config.state | default dict -}}
{{- if and (eq "rocksdb" ($state.store | default "memory")) (not $state.directory) -}}true{{- end -}}
{{- end -}}

{{- define "headrace.statePath" -}}/var/lib/headrace{{- end -}}

{{/* The configuration file: what was given, and what belongs to a pod. */}}
{{- define "headrace.config" -}}
{{- $pod := dict
      "admin" (dict "host" "0.0.0.0" "port" (include "headrace.adminPort" . | int))
      "server" (dict "host" (include "headrace.serverHost" .) "port" (include "headrace.serverPort" . | int))
      "grace_period_s" (include "headrace.gracePeriod" . | int) -}}
{{- if include "headrace.stateVolume" . -}}
{{- $_ := set $pod "state" (dict "directory" (include "headrace.statePath" .)) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $pod (deepCopy .Values.config)) -}}
{{- end -}}

{{- define "headrace.configName" -}}
{{- include "headrace.fullname" . }}-{{ include "headrace.config" . | sha256sum | trunc 10 -}}
{{- end -}}

{{/* Every Kafka source of the configuration: a list of {group, topics, start}. */}}
{{- define "headrace.kafkaSources" -}}
{{- $found := list -}}
{{- if .Values.config.pipelines -}}
{{- range $pipeline := .Values.config.pipelines -}}
{{- range $name, $source := $pipeline.sources -}}
{{- if eq "kafka" ($source.type | default $name) -}}
{{- $found = append $found (dict "group" $source.group_id "topics" $source.topics "start" ($source.start | default "earliest")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $found = list (dict "group" "headrace-logs" "topics" (list "logs.raw") "start" "earliest") -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* "true" when a handler has its records wait in Kafka. */}}
{{- define "headrace.delays" -}}
{{- $found := false -}}
{{- range $pipeline := .Values.config.pipelines -}}
{{- range $handler := $pipeline.handlers -}}
{{- if dig "retry" "delay_topics" list $handler -}}{{- $found = true -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $found -}}true{{- end -}}
{{- end -}}

{{/* Labels that Prometheus gives to what it scrapes of this release's pods, as a selector. */}}
{{- define "headrace.ownPods" -}}
namespace={{ .Release.Namespace | quote }},pod=~"{{ include "headrace.fullname" . }}-[a-z0-9]+(-[a-z0-9]{5})?"
{{- end -}}

{{/* Ports of the brokers, each once. */}}
{{- define "headrace.brokerPorts" -}}
{{- $ports := list -}}
{{- range .Values.config.kafka.bootstrap_servers -}}
{{- $ports = append $ports (splitList ":" . | last | int) -}}
{{- end -}}
{{- range .Values.networkPolicy.extraBrokerPorts -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- toJson ($ports | uniq) -}}
{{- end -}}

{{- define "headrace.secretsPath" -}}/etc/headrace/secrets/{{- end -}}

{{/* Contradictions.  Each message says what to do. */}}
{{- define "headrace.validate" -}}
{{- $values := .Values -}}
{{- if and $values.autoscaling.enabled $values.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled contradict each other: KEDA makes an HPA of its own; keep one" -}}
{{- end -}}
{{- if and $values.secrets.existingSecret $values.secrets.files -}}
{{- fail "secrets.existingSecret and secrets.files contradict each other; keep one" -}}
{{- end -}}
{{- if and $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled -}}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor would scrape every pod twice; keep one" -}}
{{- end -}}
{{- if and (include "headrace.public" .) (not (include "headrace.admitsClients" .)) -}}
{{- fail "config.server.host is open beyond the pod: set config.server.tokens_file or config.server.jwt, or say config.server.anonymous" -}}
{{- end -}}
{{- if and (or $values.ingress.enabled $values.httpRoute.enabled) (not (include "headrace.public" .)) -}}
{{- fail "ingress and httpRoute need a public port: set config.server.tokens_file or config.server.jwt, or say config.server.anonymous" -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts" -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs" -}}
{{- end -}}
{{- $needs := include "headrace.stopNeeds" . | float64 -}}
{{- $grace := include "headrace.gracePeriod" . | float64 -}}
{{- if le $grace $needs -}}
{{- fail (printf "the grace period leaves %g s after SIGTERM, but draining (config.drain_timeout_s) and stopping (13 s) need more than %g s" $grace $needs) -}}
{{- end -}}
{{- if and $values.terminationGracePeriodSeconds $values.config.grace_period_s -}}
{{- fail "terminationGracePeriodSeconds and config.grace_period_s are the same thing; keep one" -}}
{{- end -}}
{{- if and $values.keda.enabled (not (include "headrace.kafkaSources" . | fromJsonArray)) (not $values.keda.prometheus.serverAddress) -}}
{{- fail "keda.enabled needs a Kafka source in config.pipelines, or keda.prometheus.serverAddress" -}}
{{- end -}}
{{- if and $values.keda.enabled (not $values.keda.kafka.enabled) (not $values.keda.prometheus.serverAddress) -}}
{{- fail "keda.enabled needs a trigger: keda.kafka.enabled or keda.prometheus.serverAddress" -}}
{{- end -}}
{{- if and $values.keda.enabled $values.keda.kafka.enabled (not $values.keda.authenticationRef) -}}
{{- include "headrace.validateTrigger" . -}}
{{- end -}}
{{- if and $values.keda.enabled (eq 0 (int $values.keda.minReplicaCount)) (include "headrace.delays" .) -}}
{{- fail "keda.minReplicaCount is 0, but records wait in delay topics (retry.delay_topics), which KEDA does not watch: without a pod they would wait for the next record of an input; set it to 1 or more" -}}
{{- end -}}
{{- if gt (int $values.keda.minReplicaCount) (int $values.keda.maxReplicaCount) -}}
{{- fail "keda.minReplicaCount is above keda.maxReplicaCount" -}}
{{- end -}}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- $most := int $values.replicaCount -}}
{{- if $values.keda.enabled -}}{{- $most = int $values.keda.maxReplicaCount -}}{{- end -}}
{{- if $values.autoscaling.enabled -}}{{- $most = int $values.autoscaling.maxReplicas -}}{{- end -}}
{{- $workers := int ($values.config.workers | default 1) -}}
{{- $of := gt $workers 1 | ternary (printf " of %d workers" $workers) "" -}}
{{- if and $values.partitions (gt (mul $most $workers) (int $values.partitions)) -}}
{{- fail (printf "%d replicas%s are more than the %d partitions: the rest would never have work" $most $of (int $values.partitions)) -}}
{{- end -}}
{{- $read := dict
      "HEADRACE_ADMIN__HOST" "admin.host"
      "HEADRACE_ADMIN__PORT" "admin.port"
      "HEADRACE_SERVER__HOST" "server.host"
      "HEADRACE_SERVER__PORT" "server.port"
      "HEADRACE_SERVER__TOKENS_FILE" "server.tokens_file"
      "HEADRACE_SERVER__ANONYMOUS" "server.anonymous"
      "HEADRACE_STATE__STORE" "state.store"
      "HEADRACE_DRAIN_TIMEOUT_S" "drain_timeout_s"
      "HEADRACE_GRACE_PERIOD_S" "grace_period_s" -}}
{{- if $values.partitions -}}
{{- $_ := set $read "HEADRACE_WORKERS" "workers" -}}
{{- end -}}
{{- if or $values.keda.enabled (and $values.networkPolicy.enabled (not $values.networkPolicy.extraBrokerPorts)) -}}
{{- $_ := set $read "HEADRACE_KAFKA__BOOTSTRAP_SERVERS" "kafka.bootstrap_servers" -}}
{{- end -}}
{{- range $variable := .Values.extraEnv -}}
{{- $setting := get $read $variable.name -}}
{{- if hasPrefix "HEADRACE_SERVER__JWT" $variable.name -}}{{- $setting = "server.jwt" -}}{{- end -}}
{{- if $setting -}}
{{- fail (printf "extraEnv: set config.%s instead of %s: ports, probes, the network policy, volumes, the grace period and checks are made from config" $setting $variable.name) -}}
{{- end -}}
{{- end -}}
{{- if and (or $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled) (not (dig "telemetry" "prometheus" true $values.config)) -}}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor read /metrics, which config.telemetry.prometheus turns off" -}}
{{- end -}}
{{- include "headrace.validateFiles" (dict "node" $values.config "path" "config" "root" .) -}}
{{- end -}}

{{/* KEDA asks the brokers itself, and has nothing to log in with but what the Secret holds. */}}
{{- define "headrace.validateTrigger" -}}
{{- $kafka := .Values.config.kafka -}}
{{- $mechanism := $kafka.sasl_mechanism | default "" -}}
{{- if or (eq "OAUTHBEARER" $mechanism) (and $mechanism (not $kafka.sasl_plain_password_file)) -}}
{{- fail (printf "keda with config.kafka.sasl_mechanism %s needs keda.authenticationRef: KEDA logs in by itself, and there is no sasl_plain_password_file for it" $mechanism) -}}
{{- end -}}
{{- $directory := include "headrace.secretsPath" . -}}
{{- range $setting := list "sasl_plain_password_file" "ssl_cafile" "ssl_certfile" "ssl_keyfile" "ssl_password_file" -}}
{{- $file := get $kafka $setting | default "" -}}
{{- if and $file (not (hasPrefix $directory $file)) -}}
{{- fail (printf "keda needs keda.authenticationRef, or config.kafka.%s in %s: KEDA gets its copy of it from secrets" $setting $directory) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Every file below the secrets' directory must be in the Secret, as far as the chart can know. */}}
{{- define "headrace.validateFiles" -}}
{{- $directory := include "headrace.secretsPath" .root -}}
{{- $root := .root -}}
{{- $path := .path -}}
{{- if kindIs "map" .node -}}
{{- range $key, $value := .node -}}
{{- include "headrace.validateFiles" (dict "node" $value "path" (printf "%s.%s" $path $key) "root" $root) -}}
{{- end -}}
{{- else if and (kindIs "string" .node) (hasPrefix $directory .node) -}}
{{- $file := trimPrefix $directory .node -}}
{{- if not (include "headrace.secretName" $root) -}}
{{- fail (printf "%s is in the secrets' directory: set secrets.existingSecret or secrets.files" $path) -}}
{{- end -}}
{{- if and $root.Values.secrets.files (not (hasKey $root.Values.secrets.files $file)) -}}
{{- fail (printf "%s names %s, which is not among secrets.files" $path $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
