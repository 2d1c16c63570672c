{{- define "shared.workload" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-{{ .Chart.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}-{{ .Chart.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}-{{ .Chart.Name }}}}
    spec:
      containers:
        - name: {{ .Chart.Name }}
          image: {{ .Values.global.image }}
{{- end }}
